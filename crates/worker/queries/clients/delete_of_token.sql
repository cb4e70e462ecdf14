-- What is left of a client that is gone, or of a row that could not be read.
DELETE FROM clients WHERE token = ?1
