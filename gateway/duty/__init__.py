"""Who hears an alarm: duty roster 值班表, escalation, words. Pure; gateway/notify is its shell."""
