DELETE FROM clients WHERE session = ?1
