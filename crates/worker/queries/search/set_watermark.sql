UPDATE search_watermark SET result = ?1
