-- Whether what the keys of a job say of it agrees.

local OVERDUE_MS = 60000

local function alive_faults(p, id, v, say)
  if now() > tonumber(v.deadline) + OVERDUE_MS then say('over its deadline for more than a minute') end
  local stream, entry = p .. v.lane, redis.call('XRANGE', p .. v.lane, v.sid, v.sid)[1]
  if not entry or entry[2][2] ~= id then say('alive, but not in ' .. v.lane) end
  if redis.call('ZSCORE', p .. 'deadlines', id) ~= v.deadline then say('alive, but its deadline is not noted') end
  if redis.call('PTTL', p .. 'job:' .. id) ~= -1 then say('alive, but its hash expires') end
  if redis.call('PTTL', p .. 'log:' .. id) >= 0 then say('alive, but its log expires') end
  local held = redis.call('XPENDING', stream, GROUP, v.sid, v.sid, 1)[1]
  local lined = redis.call('ZSCORE', queue_of(stream, v.tenant), v.sid)
  if v.state == 'waiting' and not lined then say('waiting, but not in the waiting room') end
  if v.state ~= 'waiting' and lined then say('taken, but in the waiting room') end
  if v.own ~= '' and not held then say('owned, but nobody holds its entry') end
  if v.own ~= '' and held and string.sub(v.own, 1, #held[2] + 1) ~= held[2] .. '/' then
    say('owned by ' .. v.own .. ', but held by ' .. held[2])
  end
end

local function ended_faults(p, id, v, last, say)
  if redis.call('XRANGE', p .. v.lane, v.sid, v.sid)[1] then say('ended, but still in ' .. v.lane) end
  if redis.call('ZSCORE', queue_of(p .. v.lane, v.tenant), v.sid) then say('ended, but in the waiting room') end
  if redis.call('ZSCORE', p .. 'deadlines', id) then say('ended, but its deadline is still noted') end
  if redis.call('PTTL', p .. 'job:' .. id) < 0 then say('ended, but its hash never expires') end
  if redis.call('PTTL', p .. 'log:' .. id) < 0 then say('ended, but its log is gone or never expires') end
  if v.own ~= '' then say('ended, but owned') end
  if last and last ~= v.next .. '-' .. v.ends then say('ended at ' .. v.next .. ', but its log at ' .. last) end
end

local function faults(p, id, say)
  local r = redis.call('HMGET', p .. 'job:' .. id, 'state', 'lane', 'sid', 'own', 'next', 'deadline', 'ends',
    'tenant')
  local v = { state = r[1], lane = r[2], sid = r[3], own = r[4], next = r[5], deadline = r[6], ends = r[7],
    tenant = r[8] }
  local tail = redis.call('XREVRANGE', p .. 'log:' .. id, '+', '-', 'COUNT', 1)[1]
  local last = tail and tail[1]
  if not v.state then
    -- An earlier release kept the log of a response for longer than its job.
    if last and string.match(last, '-0$') then say('a log without a job') end
    if redis.call('ZSCORE', p .. 'deadlines', id) then say('a deadline without a job') end
  elseif alive(v.state) then
    alive_faults(p, id, v, say)
    if v.next ~= '0' and last ~= v.next .. '-0' then say('is at ' .. v.next .. ', but its log at ' .. (last or '0')) end
  else
    ended_faults(p, id, v, last, say)
  end
end

-- Entries that somebody holds and that are not there: they would be counted as running for ever.
local function strays(p, say)
  for _, lane in ipairs(LANES) do
    local held = redis.call('EXISTS', p .. lane) == 1 and redis.call('XPENDING', p .. lane, GROUP, '-', '+', 10000) or {}
    for _, entry in ipairs(held) do
      if not id_of(p .. lane, entry[1]) then say(entry[1], 'held by ' .. entry[2] .. ', but not in ' .. lane) end
    end
  end
end

-- ARGV: ids; without any, what no job speaks of is looked for. Answers id, fault for each fault there is.
local function audit(keys, args)
  local p, out = prefix(keys), {}
  if #args == 0 then
    strays(p, function(id, what)
      out[#out + 1] = id
      out[#out + 1] = what
    end)
  end
  for _, id in ipairs(args) do
    faults(p, id, function(what)
      out[#out + 1] = id
      out[#out + 1] = what
    end)
  end
  return out
end

redis.register_function { function_name = 'qc1_audit', callback = audit, flags = { 'no-writes' } }
