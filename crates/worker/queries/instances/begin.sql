INSERT INTO instances (generation, instance, process, boot_id, host, version, started_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (generation) DO UPDATE SET
    instance = excluded.instance, process = excluded.process, boot_id = excluded.boot_id,
    host = excluded.host, version = excluded.version, started_at = excluded.started_at,
    stopped_at = NULL;
