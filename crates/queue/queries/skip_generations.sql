UPDATE meta SET generation = ?
