SELECT result FROM search_watermark
