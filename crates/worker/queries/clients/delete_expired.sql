DELETE FROM clients WHERE expires_at <= ?1
