UPDATE meta SET generation = generation + 1, instance = ?, begun_at = ? RETURNING generation
