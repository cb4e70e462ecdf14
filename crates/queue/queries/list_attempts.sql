SELECT attempt, ended_at, outcome, reason FROM attempts WHERE message = ? ORDER BY place
