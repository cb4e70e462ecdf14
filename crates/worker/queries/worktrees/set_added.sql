UPDATE worktrees SET state = 'added' WHERE id = ? AND state <> 'kept'
