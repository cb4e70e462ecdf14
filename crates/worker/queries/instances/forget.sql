DELETE FROM instances
WHERE generation NOT IN (SELECT generation FROM instances ORDER BY generation DESC LIMIT ?1);
