UPDATE worktrees SET state = 'kept', reasons = ?, settled_at = ? WHERE id = ?
