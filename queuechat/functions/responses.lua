-- What responses were asked, and what became of them; their events are the logs of their jobs.
--
-- KEYS[1]  hash  qc:response:<id>: tenant, model, asked and ended (JSON that only Python reads; ended once somebody has
--                seen the end), deleted (then only that and tenant are left)

-- ARGV: tenant model asked keep_ms. Answers OK, or MEMORY: what there is is kept for the answers that run.
local function response_put(keys, args)
  if used_memory() > MEMORY then return 'MEMORY' end
  redis.call('HSET', keys[1], 'tenant', args[1], 'model', args[2], 'asked', args[3])
  redis.call('PEXPIRE', keys[1], args[4])
  return 'OK'
end

-- ARGV: ended. Answers OK, or GONE when it was deleted or has expired.
local function response_end(keys, args)
  if redis.call('HEXISTS', keys[1], 'asked') == 0 then return 'GONE' end
  redis.call('HSET', keys[1], 'ended', args[1])
  return 'OK'
end

-- A tombstone stays until the response would have expired. Answers OK or GONE.
local function response_delete(keys)
  if redis.call('HEXISTS', keys[1], 'asked') == 0 then return 'GONE' end
  redis.call('HDEL', keys[1], 'model', 'asked', 'ended')
  redis.call('HSET', keys[1], 'deleted', '1')
  return 'OK'
end

-- KEYS[1] qc:{m}:jobs, ARGV: id. What the job of a deleted response wrote: gone now if it has ended, 15 minutes after its
-- end if it has not.
local function response_drop(keys, args)
  local p = prefix(keys)
  local state = redis.call('HGET', p .. 'job:' .. args[1], 'state')
  if state and alive(state) then
    redis.call('HSET', p .. 'job:' .. args[1], 'keep', '0')
    return 'ALIVE'
  end
  redis.call('DEL', p .. 'log:' .. args[1], p .. 'job:' .. args[1])
  return 'OK'
end

redis.register_function('qc1_response_put', response_put)
redis.register_function('qc1_response_end', response_end)
redis.register_function { function_name = 'qc1_response_delete', callback = response_delete, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_response_drop', callback = response_drop, flags = { 'allow-oom' } }
