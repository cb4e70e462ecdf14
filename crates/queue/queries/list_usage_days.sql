SELECT day, input_tokens, output_tokens, cost_usd FROM usage_days ORDER BY day DESC LIMIT ?
