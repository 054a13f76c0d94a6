-- Put in front of every script, after the prelude: what people are waited for, and what they answer.

-- Whether the run waits for somebody to do something: a person who was asked, or an operator who digs up a call.
local function needs_somebody(run)
    for _, part in ipairs(waiting_parts(run)) do
        for _, id in ipairs(part.calls) do
            if not part.key:find('^errandry:part:') then -- as in keys.py
                if redis.call('HEXISTS', part.key, 'answer:' .. id) == 0 then return true end
            elseif redis.pcall('HGET', part.key, 'state:' .. id) == 'buried' then
                return true
            end
        end
    end
    return false
end

-- What people may take ends once nobody is waited for any more; the run's own deadline stays.
local function lift_peoples_deadline(run, deadlines, run_id)
    if needs_somebody(run) then return end
    local deadline = redis.call('HGET', run, 'deadline')
    if deadline then
        redis.call('ZADD', deadlines, deadline, run_id)
    else
        redis.call('ZREM', deadlines, run_id)
    end
end

-- An answer or event, in JSON, with the server's clock as its last field; nothing else of it is looked at, since a
-- decoder would change what people wrote.
local function stamped(json, now)
    return json:sub(1, -2) .. ',"answered_at":' .. string.format('%d', now) .. '}'
end

-- Whether a stored answer is the given one, whenever it was given.
local function is_answer_again(stored, given)
    local said = given:sub(1, -2)
    return stored:sub(1, #said) == said and stored:sub(#said + 1):match('^,"answered_at":%d+}$') ~= nil
end

-- Have an announcement delivered now. One word is enough: whoever hears it looks for all that is due.
local function have_delivered(webhooks, wake, entry)
    redis.call('ZADD', webhooks, 'NX', now_ms(), entry)
    redis.call('LPUSH', wake, 1)
    redis.call('LTRIM', wake, 0, 0)
end

-- Have a run's end, or its pause for people, told where its producer asked for it; any other run costs nothing.
local function announce(run, webhooks, wake, run_id, version, status)
    if redis.call('HEXISTS', run, 'webhook') == 0 then return end
    have_delivered(webhooks, wake, cjson.encode({run_id, tostring(version), status, tostring(now_ms())}))
end
