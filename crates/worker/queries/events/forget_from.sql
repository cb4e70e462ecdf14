-- Of another queue's generations: these numbers are about to be given again.
DELETE FROM event_log WHERE generation >= ?1
