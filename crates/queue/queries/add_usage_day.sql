-- Sums stop at the largest number: an integer that overflows becomes a REAL, which the column
-- refuses, and an infinite cost is none.
INSERT INTO usage_days (day, input_tokens, output_tokens, cost_usd) VALUES (?, ?, ?, ?)
ON CONFLICT (day) DO UPDATE
SET input_tokens = excluded.input_tokens
                 + min(usage_days.input_tokens, 9223372036854775807 - excluded.input_tokens),
    output_tokens = excluded.output_tokens
                  + min(usage_days.output_tokens, 9223372036854775807 - excluded.output_tokens),
    cost_usd = min(usage_days.cost_usd + excluded.cost_usd, 1.7976931348623157e308)
