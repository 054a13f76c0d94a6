-- Save in the middle of a run; hand out the calls of its step, or retire the parts that it no longer waits for.
-- KEYS run, events
-- ARGV epoch, version, snapshot, its log, step, waiting list ('' = nothing is pending, 'keep' = as before),
--      parts, repush ms, retention of answered parts ms, event, ...
-- -> {'saved', version, cancel reason or ''} | {'stale'}
if is_fenced_off(KEYS[1], ARGV[1], ARGV[2]) then return turned_away(KEYS[1], ARGV[1], ARGV[2], ARGV[3], 'RUNNING') end
local version = write_down(KEYS[1], KEYS[2], ARGV[3], ARGV[4], ARGV[5], 10)
if ARGV[6] == '' then
    retire_parts(KEYS[1], ARGV[9], false)
elseif ARGV[6] ~= 'keep' then
    hand_out(KEYS[1], ARGV[6], ARGV[7], ARGV[8])
end
return {'saved', version, redis.call('HGET', KEYS[1], 'cancel_reason') or ''}
