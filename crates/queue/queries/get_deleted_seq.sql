SELECT deleted_seq FROM sessions WHERE num = ?
