-- How front ends stop a job and look at it, and what workers tidy.

-- ARGV: ids. Nobody runs it: ended now. Somebody does: flagged, and its worker is told.
local function cancel(keys, args)
  local p, t, out = prefix(keys), now(), {}
  for _, id in ipairs(args) do
    local v = redis.call('HMGET', p .. 'job:' .. id, 'state', 'own', 'worker')
    if not v[1] then
      out[#out + 1] = 'MISSING'
    elseif not alive(v[1]) then
      out[#out + 1] = 'ALREADY'
    else
      if v[2] == '' then
        put_end(p, id, 'cancelled', t)
      else
        redis.call('HSET', p .. 'job:' .. id, 'cancel', '1')
        redis.call('PUBLISH', 'qc:control:' .. v[3], 'cancel ' .. id)
      end
      out[#out + 1] = 'OK'
    end
  end
  return out
end

local function is_known(p, worker)
  for _, lane in ipairs(LANES) do
    local rows = redis.call('EXISTS', p .. lane) == 1 and redis.call('XINFO', 'CONSUMERS', p .. lane, GROUP) or {}
    for _, row in ipairs(rows) do
      if field(row, 'name') == worker then return true end
    end
  end
  return false
end

-- Consumers whose worker is gone for an hour and that hold nothing.
local function forget_consumers(p)
  for _, lane in ipairs(LANES) do
    local stream = p .. lane
    local known = redis.call('EXISTS', stream) == 1 and redis.call('XINFO', 'CONSUMERS', stream, GROUP) or {}
    for _, row in ipairs(known) do
      if field(row, 'pending') == 0 and field(row, 'idle') > FORGET_MS then
        redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, field(row, 'name'))
        if not is_known(p, field(row, 'name')) then forget_turns(p, field(row, 'name')) end
      end
    end
  end
end

-- End what is over its deadline, wherever it stands.
local function expire(keys)
  local p, t = prefix(keys), now()
  forget_consumers(p)
  local late = redis.call('ZRANGEBYSCORE', p .. 'deadlines', '-inf', t, 'LIMIT', 0, 100)
  for _, id in ipairs(late) do
    if redis.call('EXISTS', p .. 'job:' .. id) == 1 then
      put_end(p, id, 'deadline', t)
    else
      redis.call('ZREM', p .. 'deadlines', id)
    end
  end
  return #late
end

-- The places in the waiting room, 1 being next, of {at, tenant, sid} each, written to out[at].
local function tell_places(stream, asked, out)
  if #asked == 0 then return end
  local line = line_of(stream)
  for _, one in ipairs(asked) do
    local ahead = redis.call('ZRANK', queue_of(stream, one.tenant), one.sid)
    if ahead then out[one.at] = place_in(line, one.tenant, turn_of(stream, one.tenant), ahead) end
  end
end

-- ARGV: ids. "I am still reading." Answers state, next, place in the waiting room (0: taken, or of the batch lane, where
-- nobody waits in front of a screen) of each.
local function watch(keys, args)
  local p, t, out, asked = prefix(keys), now(), {}, {}
  for _, id in ipairs(args) do
    local key = p .. 'job:' .. id
    local v = redis.call('HMGET', key, 'state', 'next', 'sid', 'lane', 'deadline', 'tenant')
    out[#out + 1] = v[1] or ''
    out[#out + 1] = tonumber(v[2] or 0)
    out[#out + 1] = 0
    if v[1] and alive(v[1]) then
      redis.call('HSET', key, 'seen', t)
      if t > tonumber(v[5]) then
        put_end(p, id, 'deadline', t)
      elseif v[1] == 'waiting' and v[4] == 'jobs' then
        asked[#asked + 1] = { at = #out, tenant = v[6], sid = v[3] }
      end
    end
  end
  tell_places(p .. 'jobs', asked, out)
  return out
end

-- Ended jobs in the last minute: how many of the newest 64, and over how many ms.
local function drained(p, t)
  local ends = redis.call('XREVRANGE', p .. 'usage', '+', whole(t - 60000), 'COUNT', 64)
  if #ends == 0 then return 0, 0 end
  local oldest = tonumber(string.match(ends[#ends][1], '^%d+'))
  return #ends, math.max(t - oldest, 1)
end

-- Answers waiting, running, bulk waiting, ms the oldest has waited, dead letters, ended jobs and over how many ms, and
-- the microseconds until the next place is free.
local function depth(keys, args)
  local p, t = prefix(keys), now()
  local wait, run, bulk, oldest = waiting(p .. 'jobs'), pending(p .. 'jobs') + pending(p .. 'bulk'), waiting(p .. 'bulk'), 0
  if wait > 0 then oldest = math.max(t - (oldest_in(p .. 'jobs') or t), 0) end
  local n, ms = drained(p, t)
  local dead = redis.call('XLEN', p .. 'dead')
  redis.call('SET', p .. 'depth', '{"waiting":' .. wait .. ',"running":' .. run .. ',"bulk_waiting":' .. bulk
    .. ',"oldest_ms":' .. whole(oldest) .. ',"dead":' .. dead .. '}', 'PX', args[1])
  return { wait, run, bulk, oldest, dead, n, ms, math.ceil(pace(p, t) * 1000) }
end

-- How many entries a stream has ever had; Redis counts them itself.
local function added(stream)
  if redis.call('EXISTS', stream) == 0 then return 0 end
  return field(redis.call('XINFO', 'STREAM', stream), 'entries-added')
end

-- Answers how many jobs have ever come (what is only read is none) and how many have ended.
local function flow(keys)
  local p = prefix(keys)
  return { added(p .. 'jobs') + added(p .. 'bulk'), added(p .. 'usage') }
end

redis.register_function { function_name = 'qc1_cancel', callback = cancel, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_expire', callback = expire, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_watch', callback = watch, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_depth', callback = depth, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_flow', callback = flow, flags = { 'no-writes' } }
