INSERT INTO worktrees (id, session, agent, key, generation, state, repo, git_dir, is_bare, path, branch,
    base_commit, base_branch, reasons, created_at)
VALUES (?, ?, ?, ?, ?, 'intended', ?, ?, ?, ?, ?, ?, ?, '[]', ?)
