SELECT * FROM worktrees WHERE id = ?
