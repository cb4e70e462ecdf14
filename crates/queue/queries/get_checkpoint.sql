SELECT body FROM checkpoints WHERE session = (SELECT num FROM sessions WHERE id = ?)
