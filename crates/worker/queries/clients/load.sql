SELECT id, kind, token, session, project, name, version, cwd, role, groups, metadata, process,
       created_at, touched_at, expires_at
FROM clients
ORDER BY created_at, id
