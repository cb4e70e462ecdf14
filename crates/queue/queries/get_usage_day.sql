SELECT input_tokens, output_tokens, cost_usd FROM usage_days WHERE day = ?
