SELECT * FROM worktrees ORDER BY id
