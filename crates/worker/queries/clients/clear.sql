DELETE FROM clients WHERE ?1 IS NULL OR kind = ?1
