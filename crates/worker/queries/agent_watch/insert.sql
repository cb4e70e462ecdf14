-- A process is an agent of a session; again is of no effect.
INSERT INTO agent_processes (pid, start_ticks, boot_id, pid_namespace, session, pidfs_inode, since)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT DO NOTHING
