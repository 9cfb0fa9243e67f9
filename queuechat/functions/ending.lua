-- How a job ends.

local function delivered(reason)
  return reason == 'stop' or reason == 'length'
end

-- A request whose first choice was not delivered frees its idempotency key: the same may be tried again.
local function settle_idem(idem, id, reason)
  if not idem or idem == '' then return end
  if redis.call('HGET', idem, 'id') ~= id then return end -- another choice; or another request has it by now
  if delivered(reason) then
    redis.call('PEXPIRE', idem, KEEP_MS)
  else
    redis.call('DEL', idem)
  end
end

-- The date (UTC) of a moment, after Howard Hinnant's days_from_civil.
local function date_of(ms)
  local z = math.floor(ms / 86400000) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02d', year, month, doy - math.floor((153 * mp + 2) / 5) + 1)
end

-- Add a request that ended at `t` to what its tenant has had that day.
local function add_spent(p, tenant, t, requests, tokens, prompt_tokens)
  local key = p .. 'spent:' .. date_of(t)
  redis.call('HINCRBY', key, tenant .. ' requests', requests)
  redis.call('HINCRBY', key, tenant .. ' tokens', tokens)
  redis.call('HINCRBY', key, tenant .. ' prompt_tokens', prompt_tokens)
  redis.call('PEXPIRE', key, KEEP_SPENT_MS)
end

-- A log that holds more than its job knows of is none of this job: it goes, so that nothing hangs.
local function log_end(key, id, event)
  local added = redis.pcall('XADD', key, id, 'e', event)
  if type(added) == 'table' and added.err then
    redis.call('DEL', key)
    redis.call('XADD', key, id, 'e', event)
  end
end

-- The only way out. Log, state, queue, usage and the last message change together.
local function finish(p, id, reason, verdict, t)
  local key = p .. 'job:' .. id
  local v = redis.call('HMGET', key, 'sid', 'lane', 'next', 'tenant', 'queued', 'started', 'first', 'crashes', 'worker',
    'ends', 'idem', 'kills', 'keep', 'items')
  local event = '1{"o":' .. v[3] .. ',"end":' .. verdict .. ',"at":[' .. v[5] .. ',' .. v[6] .. ',' .. v[7] .. ',' .. t .. ']}'
  local ends = tonumber(v[10] or 0) + 1
  log_end(p .. 'log:' .. id, v[3] .. '-' .. ends, event)
  redis.call('XACK', p .. v[2], GROUP, v[1])
  redis.call('XDEL', p .. v[2], v[1])
  leave_room(p .. v[2], v[4], v[1])
  redis.call('ZREM', p .. 'deadlines', id)
  local read = string.match(verdict, '"prompt_tokens":(%d+)') or '0'
  redis.call('HSET', key, 'state', reason, 'own', '', 'ended', t, 'ends', ends)
  if v[2] ~= 'reads' then
    local written = v[14] and '0' or string.match(verdict, '"generated":(%d+)') or v[3]
    local bill = redis.call('XADD', p .. 'usage', 'MAXLEN', '~', 100000, '*', 'id', id, 'tenant', v[4], 'reason', reason,
      'tokens', written, 'prompt_tokens', read, 'queued', v[5], 'started', v[6], 'first', v[7], 'ended', t)
    add_spent(p, v[4], t, 1, written, read)
    redis.call('HSET', key, 'bill', bill, 'counted', '1')
  end
  local keep, longer = v[2] == 'reads' and KEEP_READ_MS or KEEP_MS, tonumber(v[13] or 0)
  if reason == 'dead' then
    local letter = redis.call('XADD', p .. 'dead', 'MAXLEN', '~', 10000, '*', 'id', id, 'tokens', v[3], 'crashes', v[8], 'kills', v[12] or 0, 'worker', v[9],
      'tenant', v[4])
    redis.call('HSET', key, 'letter', letter)
    keep = KEEP_DEAD_MS
  end
  if reason ~= 'dead' and (longer > KEEP_MS or redis.call('HSTRLEN', key, 'job') > KEEP_JOB_BYTES) then
    redis.call('HDEL', key, 'job') -- nobody asks for it any more
  end
  settle_idem(v[11], id, reason)
  keep = whole(math.max(keep, longer))
  redis.call('PEXPIRE', key, keep)
  redis.call('PEXPIRE', p .. 'log:' .. id, keep)
  redis.call('PUBLISH', p .. 'out:' .. id, event)
end

local VERDICTS = {
  cancelled = '{"reason":"cancelled","prompt_tokens":0}',
  deadline = '{"reason":"deadline","prompt_tokens":0}',
  dead = '{"reason":"dead","prompt_tokens":0,"error":{"code":"job_failed","message":'
    .. '"the workers that ran this request died; it was put aside as a dead letter"}}',
}

local function put_end(p, id, reason, t)
  finish(p, id, reason, VERDICTS[reason], t)
end

-- Whether a job must not go on: 'cancelled', 'deadline' or nil.
local function verdict_of(p, cancel, deadline, grace, seen, t)
  if cancel == '1' then return 'cancelled' end
  if t > tonumber(deadline) then return 'deadline' end
  if grace ~= '0' and t - tonumber(seen) > tonumber(grace) and steady_for(p, tonumber(grace), t) then return 'cancelled' end
end

-- ARGV: id nonce next reason verdict
local function finish_job(keys, args)
  local p, id = prefix(keys), args[1]
  local v = redis.call('HMGET', p .. 'job:' .. id, 'state', 'own', 'next')
  if not v[1] or not alive(v[1]) then return 'ALREADY' end
  if v[2] ~= args[2] then return 'FENCED' end
  if v[3] ~= args[3] then return 'GAP' end
  finish(p, id, args[4], args[5], now())
  return 'OK'
end

-- ARGV: ids. Who wanted them for longer has what they said: from now on they are kept as all others are.
local function let_go(keys, args)
  local p = prefix(keys)
  for _, id in ipairs(args) do
    local state = redis.call('HGET', p .. 'job:' .. id, 'state')
    if state and alive(state) then
      redis.call('HSET', p .. 'job:' .. id, 'keep', '0')
    elseif state and state ~= 'dead' then
      redis.call('PEXPIRE', p .. 'job:' .. id, KEEP_MS)
      redis.call('PEXPIRE', p .. 'log:' .. id, KEEP_MS)
    end
  end
  return 'OK'
end

redis.register_function { function_name = 'qc1_finish', callback = finish_job, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_let_go', callback = let_go, flags = { 'allow-oom' } }
