SELECT * FROM worktrees WHERE session = ? ORDER BY id
