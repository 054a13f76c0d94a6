-- Cancel a run: one that nobody holds ends here, the holder of a running one is told at its next heartbeat or save.
-- KEYS run, due, events
-- ARGV version, cancelled snapshot, run_id, event, reason, retention ms
-- -> 'cancelled' | 'requested' | 'finished' | 'missing' | 'changed' (read the snapshot again)
local held = redis.call('HMGET', KEYS[1], 'status', 'version', 'lease_until')
if not held[1] then return 'missing' end
if is_finished(held[1]) then return 'finished' end
if held[1] == 'RUNNING' and tonumber(held[3]) > now_ms() then
    redis.call('HSET', KEYS[1], 'cancel_reason', ARGV[5])
    for _, part in ipairs(waiting_parts(KEYS[1])) do redis.call('HSET', part.key, 'cancelled', 1) end
    return 'requested'
end
if held[2] ~= ARGV[1] then return 'changed' end
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'snapshot', ARGV[2], 'status', 'CANCELLED')
redis.call('HDEL', KEYS[1], 'cancel_reason')
redis.call('ZREM', KEYS[2], ARGV[3])
redis.call('XADD', KEYS[3], '*', 'event', ARGV[4])
retire_parts(KEYS[1], ARGV[6], true)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PEXPIRE', KEYS[3], ARGV[6])
return 'cancelled'
