SELECT pid, start_ticks, boot_id, pid_namespace, session, pidfs_inode, since
FROM agent_processes
ORDER BY session, since
