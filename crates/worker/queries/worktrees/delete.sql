DELETE FROM worktrees WHERE id = ?
