-- What retention needs: finished messages by age, and what is to be known of those that are gone.

-- The highest place of a message that was worked and deleted since, so that a dead one before it
-- does not go back to its place. 0: none was.
ALTER TABLE sessions ADD COLUMN deleted_seq INTEGER NOT NULL DEFAULT 0 CHECK (deleted_seq >= 0);

-- Two, because dead letters are kept longer: in one, the walk to the oldest done message would pass
-- all of them. Both grow at their end, since time goes on.
CREATE INDEX messages_finished ON messages (finished_at) WHERE state IN ('done', 'cancelled');
CREATE INDEX messages_dead_since ON messages (finished_at) WHERE state = 'dead';
