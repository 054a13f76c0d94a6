-- Let a run that ended in ERROR go on from its last snapshot.
-- KEYS run, events, due, deadlines, expiring, agents queue, dead, dead letters, states
-- ARGV run_id, message, repush ms
-- -> 'retried' | 'missing' | the status that forbids it
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return 'missing' end
if status ~= 'ERROR' then return status end
set_status(KEYS[1], KEYS[9], 'PENDING')
-- A deadline that has passed would end it again at once.
redis.call('HDEL', KEYS[1], 'deaths', 'repushes', 'deadline')
redis.call('PERSIST', KEYS[1])
redis.call('PERSIST', KEYS[2])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[7], ARGV[1])
redis.call('HDEL', KEYS[8], ARGV[1])
redis.call('LPUSH', KEYS[6], ARGV[2])
redis.call('ZADD', KEYS[3], now_ms() + ARGV[3], ARGV[1])
return 'retried'
