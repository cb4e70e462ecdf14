UPDATE instances SET stopped_at = ?2 WHERE generation = ?1;
