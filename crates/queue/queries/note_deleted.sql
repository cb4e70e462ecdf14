UPDATE sessions SET deleted_seq = max(deleted_seq, ?2) WHERE num = ?1
