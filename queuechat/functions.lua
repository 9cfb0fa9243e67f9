#!lua name=queuechat1
-- Every state change of a job is one function, atomic and safe to repeat: validate first, write last.
--
-- KEYS[1] is always qc:{m}:jobs; the other keys of the model are named from it and share its hash slot:
--   jobs, bulk      stream  ids that wait or run, group "workers"; an entry goes with its job's end
--   job:<id>        hash    job (the request), state, lane, sid (its stream entry), own (fencing nonce of the owner,
--                           "<worker>/<random>", empty when nobody runs it), worker (who ran it last), epoch, next
--                           (offset), hash (of the token ids before next), from (next at the start of this epoch),
--                           crashes, cancel, deadline, grace and seen (how long it may be unwatched; last watched),
--                           tenant, queued, started, first, ended (ms)
--   log:<id>        stream  <end>-0: c = chunk, h = prefix hash; <end>-1: e = the end
--   out:<id>, wake  channel
--   deadlines       zset    id by deadline
--   dead, usage     stream
-- The clock is Redis': hosts may disagree with each other, nobody disagrees with TIME.

-- Raise it with every change: a server keeps the library of the latest revision that it was brought.
local REVISION = 1

local GROUP = 'workers'
local KEEP_MS = 900000
local IDEM_MS = 86400000
local HANDED_MS = 86400000 -- idle time of an entry that was handed back: over any lease, taken at once
local FORGET_MS = 3600000
local MAX_CRASHES = 5
local FORGIVEN = 32 -- tokens in one epoch that clear a job of its crashes

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function prefix(keys)
  return string.sub(keys[1], 1, -5)
end

local function ensure(stream)
  if redis.call('EXISTS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
  end
end

local function pending(stream)
  if redis.call('EXISTS', stream) == 0 then return 0 end
  return redis.call('XPENDING', stream, GROUP)[1]
end

local function last_delivered(stream)
  local info = redis.call('XINFO', 'GROUPS', stream)[1]
  for i = 1, #info, 2 do
    if info[i] == 'last-delivered-id' then return info[i + 1] end
  end
end

local function waiting(stream)
  if redis.call('EXISTS', stream) == 0 then return 0 end
  return redis.call('XLEN', stream) - pending(stream)
end

-- Ended jobs in the last minute: how many of the newest 64, and over how many ms.
local function drained(p, t)
  local ends = redis.call('XREVRANGE', p .. 'usage', '+', tostring(t - 60000), 'COUNT', 64)
  if #ends == 0 then return 0, 0 end
  local oldest = tonumber(string.match(ends[#ends][1], '^%d+'))
  return #ends, math.max(t - oldest, 1)
end

-- The only way out. Log, state, queue, usage and the last message change together.
local function finish(p, id, reason, verdict, t)
  local key = p .. 'job:' .. id
  local v = redis.call('HMGET', key, 'sid', 'lane', 'next', 'tenant', 'queued', 'started', 'first', 'crashes', 'worker')
  local event = '1{"o":' .. v[3] .. ',"end":' .. verdict .. ',"at":[' .. v[5] .. ',' .. v[6] .. ',' .. v[7] .. ',' .. t .. ']}'
  redis.call('XADD', p .. 'log:' .. id, v[3] .. '-1', 'e', event)
  redis.call('HSET', key, 'state', reason, 'own', '', 'ended', t)
  redis.call('XACK', p .. v[2], GROUP, v[1])
  redis.call('XDEL', p .. v[2], v[1])
  redis.call('ZREM', p .. 'deadlines', id)
  redis.call('XADD', p .. 'usage', 'MAXLEN', '~', 100000, '*', 'id', id, 'tenant', v[4], 'reason', reason,
    'tokens', v[3], 'prompt_tokens', string.match(verdict, '"prompt_tokens":(%d+)') or '0',
    'queued', v[5], 'started', v[6], 'first', v[7], 'ended', t)
  if reason == 'dead' then
    redis.call('XADD', p .. 'dead', 'MAXLEN', '~', 10000, '*', 'id', id, 'tokens', v[3], 'crashes', v[8], 'worker', v[9])
  end
  redis.call('PEXPIRE', key, KEEP_MS)
  redis.call('PEXPIRE', p .. 'log:' .. id, KEEP_MS)
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

local function running(state)
  return state == 'waiting' or state == 'running'
end

-- For so long after a restart nobody could do what is now overdue.
local function up_for(ms)
  local uptime = string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')
  return tonumber(uptime) * 1000 >= ms
end

-- Whether a job must not go on: 'cancelled', 'deadline' or nil.
local function verdict_of(cancel, deadline, grace, seen, t)
  if cancel == '1' then return 'cancelled' end
  if t > tonumber(deadline) then return 'deadline' end
  if grace ~= '0' and t - tonumber(seen) > tonumber(grace) and up_for(tonumber(grace)) then return 'cancelled' end
end

-- ARGV: lane limit deadline_ms grace_ms tenant idem_key body_sha, then id and request of each job: all or none.
local function enqueue(keys, args)
  local p, t = prefix(keys), now()
  local lane, limit, idem = args[1], tonumber(args[2]), args[6]
  local first, count = args[8], (#args - 7) / 2
  if redis.call('EXISTS', p .. 'job:' .. first) == 1 then return { 'OK' } end
  if idem ~= '' then
    local seen = redis.call('HMGET', idem, 'id', 'sha')
    if seen[1] then
      if seen[2] == args[7] then return { 'DUP', seen[1] } end
      return { 'MISMATCH' }
    end
  end
  local stream = p .. lane
  ensure(stream)
  if limit > 0 then
    local depth = waiting(stream)
    if depth + count > limit then
      local n, ms = drained(p, t)
      return { 'FULL', depth, n, ms }
    end
  end
  for i = 8, #args, 2 do
    local sid = redis.call('XADD', stream, '*', 'id', args[i])
    redis.call('HSET', p .. 'job:' .. args[i], 'job', args[i + 1], 'state', 'waiting', 'lane', lane, 'sid', sid,
      'own', '', 'worker', '', 'epoch', 0, 'next', 0, 'hash', '', 'from', 0, 'crashes', 0, 'cancel', '0',
      'deadline', t + tonumber(args[3]), 'grace', args[4], 'seen', t, 'tenant', args[5],
      'queued', t, 'started', 0, 'first', 0, 'ended', 0)
    redis.call('ZADD', p .. 'deadlines', t + tonumber(args[3]), args[i])
  end
  if idem ~= '' then
    redis.call('HSET', idem, 'id', first, 'sha', args[7])
    redis.call('PEXPIRE', idem, IDEM_MS)
  end
  redis.call('PUBLISH', p .. 'wake', count)
  return { 'OK' }
end

-- Count the crash of a job that lost its owner. Answers whether it was one too many.
local function crashed(p, id, v, t)
  local crashes = tonumber(v.crashes) + 1
  if tonumber(v.next) - tonumber(v.from) >= FORGIVEN then crashes = 1 end
  redis.call('HSET', p .. 'job:' .. id, 'crashes', crashes, 'own', '')
  if crashes >= MAX_CRASHES then
    put_end(p, id, 'dead', t)
    return true
  end
end

local function read_job(p, id)
  local v = redis.call('HMGET', p .. 'job:' .. id, 'state', 'own', 'cancel', 'deadline', 'grace', 'seen', 'crashes',
    'next', 'hash', 'from', 'epoch', 'started', 'job', 'first')
  return { state = v[1], own = v[2], cancel = v[3], deadline = v[4], grace = v[5], seen = v[6], crashes = v[7],
    next = v[8], hash = v[9], from = v[10], epoch = v[11], started = v[12], job = v[13], first = v[14] }
end

local function granted(id, v, epoch, t)
  return { id, v.job, epoch, v.next, v.hash, tonumber(v.deadline) - t }
end

-- An entry is this worker's: end it if it must not run, else make the worker its owner.
local function start(p, stream, sid, id, worker, nonce, t)
  local v = read_job(p, id)
  if not v.state or not running(v.state) then
    redis.call('XACK', stream, GROUP, sid)
    redis.call('XDEL', stream, sid)
    return nil
  end
  if v.own == nonce then return granted(id, v, tonumber(v.epoch), t) end
  if v.own ~= '' and crashed(p, id, v, t) then return nil end
  local verdict = verdict_of(v.cancel, v.deadline, v.grace, v.seen, t)
  if verdict then
    put_end(p, id, verdict, t)
    return nil
  end
  local epoch = tonumber(v.epoch) + 1
  redis.call('HSET', p .. 'job:' .. id, 'state', 'running', 'own', nonce, 'worker', worker, 'epoch', epoch,
    'from', v.next, 'started', v.started == '0' and t or v.started)
  return granted(id, v, epoch, t)
end

local function id_of(stream, sid)
  local entry = redis.call('XRANGE', stream, sid, sid)[1]
  return entry and entry[2][2]
end

-- After a restart every idle time has run on while nobody could renew: only what was handed back may be taken.
local function trusted(idle, lease)
  return idle >= HANDED_MS or up_for(2 * lease)
end

local function take_stale(p, stream, worker, nonce, lease, room, t, out)
  local stale = redis.call('XPENDING', stream, GROUP, 'IDLE', lease, '-', '+', room)
  for _, entry in ipairs(stale) do
    local sid, id = entry[1], id_of(stream, entry[1])
    if not id then
      redis.call('XACK', stream, GROUP, sid)
    elseif trusted(entry[3], lease) then
      redis.call('XCLAIM', stream, GROUP, worker, 0, sid, 'JUSTID')
      local got = start(p, stream, sid, id, worker, nonce, t)
      if got then out[#out + 1] = got end
    end
  end
end

local function take_new(p, stream, worker, nonce, room, t, out)
  local reply = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', room, 'STREAMS', stream, '>')
  if not reply then return end
  for _, entry in ipairs(reply[1][2]) do
    local got = start(p, stream, entry[1], entry[2][2], worker, nonce, t)
    if got then out[#out + 1] = got end
  end
end

-- What an earlier call with this nonce granted, when its reply was lost.
local function take_again(p, stream, worker, nonce, t, out)
  for _, entry in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', 10000, worker)) do
    local id = id_of(stream, entry[1])
    if id and redis.call('HGET', p .. 'job:' .. id, 'own') == nonce then
      out[#out + 1] = start(p, stream, entry[1], id, worker, nonce, t)
    end
  end
end

-- ARGV: worker nonce lease_ms room bulk_room again. Answers {id, request, epoch, next, hash, ms left} of each job.
local function claim(keys, args)
  local p, t, out = prefix(keys), now(), {}
  local worker, nonce, lease = args[1], args[2], tonumber(args[3])
  for i, lane in ipairs({ 'jobs', 'bulk' }) do
    local stream = p .. lane
    ensure(stream)
    local room = tonumber(args[3 + i]) - #out
    if room > 0 then
      if args[6] == '1' then take_again(p, stream, worker, nonce, t, out) end
      room = tonumber(args[3 + i]) - #out
      if room > 0 then take_stale(p, stream, worker, nonce, lease, room, t, out) end
      room = tonumber(args[3 + i]) - #out
      if room > 0 then take_new(p, stream, worker, nonce, room, t, out) end
    end
  end
  return out
end

local function append(p, a, i, t)
  local id, first, count = a[i], tonumber(a[i + 2]), tonumber(a[i + 3])
  local key = p .. 'job:' .. id
  local v = redis.call('HMGET', key, 'own', 'next', 'hash', 'cancel', 'deadline', 'grace', 'seen', 'first')
  if v[1] ~= a[i + 1] then return 'FENCED' end
  local at = tonumber(v[2])
  if first + count <= at then return 'DUP' end
  if first ~= at then return 'GAP' end
  if v[3] ~= a[i + 4] then return 'DIVERGED' end
  local verdict = verdict_of(v[4], v[5], v[6], v[7], t)
  if verdict then return verdict == 'deadline' and 'DEADLINE' or 'CANCEL' end
  local last = string.format('%.0f', first + count)
  redis.call('XADD', p .. 'log:' .. id, last .. '-0', 'c', a[i + 6], 'h', a[i + 5])
  if v[8] == '0' then
    redis.call('HSET', key, 'next', last, 'hash', a[i + 5], 'first', t)
  else
    redis.call('HSET', key, 'next', last, 'hash', a[i + 5])
  end
  redis.call('PUBLISH', p .. 'out:' .. id, a[i + 6])
  return 'OK'
end

-- ARGV, seven of each job: id nonce first count hash-before hash-after chunk. Answers one word of each.
local function publish(keys, args)
  local p, t, out = prefix(keys), now(), {}
  for i = 1, #args, 7 do out[#out + 1] = append(p, args, i, t) end
  return out
end

-- ARGV: id nonce next reason verdict
local function finish_job(keys, args)
  local p, id = prefix(keys), args[1]
  local v = redis.call('HMGET', p .. 'job:' .. id, 'state', 'own', 'next')
  if not v[1] or not running(v[1]) then return 'ALREADY' end
  if v[2] ~= args[2] then return 'FENCED' end
  if v[3] ~= args[3] then return 'GAP' end
  finish(p, id, args[4], args[5], now())
  return 'OK'
end

-- Every entry that a worker holds and still owns: visit(stream, sid, id, job).
local function each_owned(p, worker, visit)
  for _, lane in ipairs({ 'jobs', 'bulk' }) do
    local stream = p .. lane
    if redis.call('EXISTS', stream) == 1 then
      for _, entry in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', 10000, worker)) do
        local id = id_of(stream, entry[1])
        if id then
          local v = read_job(p, id)
          if v.own and string.sub(v.own, 1, #worker + 1) == worker .. '/' then visit(stream, entry[1], id, v) end
        end
      end
    end
  end
end

-- ARGV: worker. Answers id, "OK" | "CANCEL" | "DEADLINE" of each job that it owns.
local function renew(keys, args)
  local p, t, out = prefix(keys), now(), {}
  each_owned(p, args[1], function(stream, sid, id, v)
    redis.call('XCLAIM', stream, GROUP, args[1], 0, sid, 'JUSTID')
    local verdict = verdict_of(v.cancel, v.deadline, v.grace, v.seen, t)
    out[#out + 1] = id
    out[#out + 1] = verdict == 'deadline' and 'DEADLINE' or verdict and 'CANCEL' or 'OK'
  end)
  return out
end

-- ARGV: worker crashed [id ...]. All (or those) that it owns go back; the next claim takes them at once, whoever calls.
local function release(keys, args)
  local p, t, count, only = prefix(keys), now(), 0, nil
  for i = 3, #args do
    only = only or {}
    only[args[i]] = true
  end
  each_owned(p, args[1], function(stream, sid, id, v)
    if only and not only[id] then return end
    count = count + 1
    if args[2] == '1' and crashed(p, id, v, t) then return end
    redis.call('HSET', p .. 'job:' .. id, 'own', '')
    redis.call('XCLAIM', stream, GROUP, args[1], 0, sid, 'IDLE', HANDED_MS, 'JUSTID')
  end)
  if count > 0 then redis.call('PUBLISH', p .. 'wake', count) end
  return count
end

-- ARGV: worker. Forget a consumer that holds nothing; one that does keeps its entries until they are claimed.
local function leave(keys, args)
  local p = prefix(keys)
  for _, lane in ipairs({ 'jobs', 'bulk' }) do
    local stream = p .. lane
    if redis.call('EXISTS', stream) == 1 and #redis.call('XPENDING', stream, GROUP, '-', '+', 1, args[1]) == 0 then
      redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, args[1])
    end
  end
  return 'OK'
end

-- ARGV: ids. Nobody runs it: ended now. Somebody does: flagged, and its worker is told.
local function cancel(keys, args)
  local p, t, out = prefix(keys), now(), {}
  for _, id in ipairs(args) do
    local v = redis.call('HMGET', p .. 'job:' .. id, 'state', 'own', 'worker')
    if not v[1] then
      out[#out + 1] = 'MISSING'
    elseif not running(v[1]) then
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

-- Consumers whose worker is gone for an hour and that hold nothing.
local function forget_consumers(p)
  for _, lane in ipairs({ 'jobs', 'bulk' }) do
    local stream = p .. lane
    local known = redis.call('EXISTS', stream) == 1 and redis.call('XINFO', 'CONSUMERS', stream, GROUP) or {}
    for _, row in ipairs(known) do
      local v = {}
      for i = 1, #row, 2 do v[row[i]] = row[i + 1] end
      if v.pending == 0 and v.idle > FORGET_MS then redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, v.name) end
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

-- The place of each entry that waits in a lane, 1 being next; read once a call, however many ask.
local function places(p, lane, known)
  if not known[lane] then
    local at = {}
    local entries = redis.call('XRANGE', p .. lane, '(' .. last_delivered(p .. lane), '+', 'COUNT', 10000)
    for i, entry in ipairs(entries) do at[entry[1]] = i end
    known[lane] = at
  end
  return known[lane]
end

-- ARGV: ids. "I am still reading." Answers state, next, place in the waiting room (0: taken) of each.
local function watch(keys, args)
  local p, t, out, known = prefix(keys), now(), {}, {}
  for _, id in ipairs(args) do
    local key = p .. 'job:' .. id
    local v = redis.call('HMGET', key, 'state', 'next', 'sid', 'lane', 'deadline')
    local at = 0
    if v[1] and running(v[1]) then
      redis.call('HSET', key, 'seen', t)
      if v[1] == 'waiting' then
        if t > tonumber(v[5]) then
          put_end(p, id, 'deadline', t)
        else
          at = places(p, v[4], known)[v[3]] or 0
        end
      end
    end
    out[#out + 1] = v[1] or ''
    out[#out + 1] = tonumber(v[2] or 0)
    out[#out + 1] = at
  end
  return out
end

-- Answers waiting, running, bulk waiting, ms the oldest has waited, dead letters, ended jobs and over how many ms.
local function depth(keys, args)
  local p, t = prefix(keys), now()
  local wait, run, bulk, oldest = waiting(p .. 'jobs'), pending(p .. 'jobs') + pending(p .. 'bulk'), waiting(p .. 'bulk'), 0
  if wait > 0 then
    local first = redis.call('XRANGE', p .. 'jobs', '(' .. last_delivered(p .. 'jobs'), '+', 'COUNT', 1)[1]
    if first then oldest = math.max(t - tonumber(string.match(first[1], '^%d+')), 0) end
  end
  local n, ms = drained(p, t)
  local dead = redis.call('XLEN', p .. 'dead')
  redis.call('SET', p .. 'depth', '{"waiting":' .. wait .. ',"running":' .. run .. ',"bulk_waiting":' .. bulk
    .. ',"oldest_ms":' .. string.format('%.0f', oldest) .. ',"dead":' .. dead .. '}', 'PX', args[1])
  return { wait, run, bulk, oldest, dead, n, ms }
end

redis.register_function('qc1_enqueue', enqueue)
redis.register_function('qc1_claim', claim)
redis.register_function('qc1_publish', publish)
redis.register_function { function_name = 'qc1_finish', callback = finish_job, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_renew', callback = renew, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_release', callback = release, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_leave', callback = leave, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_cancel', callback = cancel, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_expire', callback = expire, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_watch', callback = watch, flags = { 'allow-oom' } }
redis.register_function('qc1_depth', depth)
