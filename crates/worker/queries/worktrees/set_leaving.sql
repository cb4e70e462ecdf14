UPDATE worktrees SET state = 'leaving' WHERE id = ?
