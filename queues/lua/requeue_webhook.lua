-- Dig an announcement up: it is delivered now, with its tries forgotten.
-- KEYS webhooks, their wake-up, run, dead, dead letters
-- ARGV entry, id of the dead letter
-- -> 'requeued' | 'gone' (its run is gone)
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('HDEL', KEYS[5], ARGV[2])
if redis.call('HEXISTS', KEYS[3], 'webhook') == 0 then return 'gone' end
have_delivered(KEYS[1], KEYS[2], ARGV[1])
return 'requeued'
