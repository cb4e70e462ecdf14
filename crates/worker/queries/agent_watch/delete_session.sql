-- A session has ended.
DELETE FROM agent_processes WHERE session = ?1
