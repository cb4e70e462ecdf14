-- First the best ids alone, then their texts: a snippet is made for the rows that are shown only.
WITH best AS MATERIALIZED (
    SELECT search_text.rowid AS id, bm25(search_text, 8.0, 1.0, 4.0, 2.0) AS score
    FROM search_text
    JOIN search_entries AS entry ON entry.id = search_text.rowid
    WHERE search_text MATCH ?1
      AND (?2 IS NULL OR entry.project = ?2)
      AND (?3 IS NULL OR entry.session = ?3)
      AND (?4 IS NULL OR entry.agent = ?4)
      AND (?5 IS NULL OR entry.kind = ?5)
      AND (?6 OR NOT entry.trace)
    ORDER BY score, search_text.rowid DESC
    LIMIT ?7
)
SELECT best.id, best.score, entry.session, entry.project, entry.agent, entry.kind, entry.seq,
       entry.accepted_at, search_text.title,
       snippet(search_text, 1, '', '', '…', 24) AS snippet
FROM best
CROSS JOIN search_entries AS entry ON entry.id = best.id
CROSS JOIN search_text ON search_text.rowid = best.id
WHERE search_text MATCH ?1
ORDER BY best.score, best.id DESC
