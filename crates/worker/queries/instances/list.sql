SELECT generation, instance, process, boot_id, host, version, started_at, stopped_at
FROM instances WHERE generation <> ?1 ORDER BY generation DESC;
