-- Who runs a batch, and what only that one may write of it.
--
-- KEYS[1]  hash  qc:batch:<id>: status (as the API tells it), own (fencing token of who runs it), till (when its lease ends,
--                ms), epoch (how often it was taken); every other field is JSON that only Python reads

-- ARGV: token lease_ms. Answers {status, epoch}, or BUSY or MISSING.
local function batch_take(keys, args)
  local t, v = now(), redis.call('HMGET', keys[1], 'status', 'own', 'till', 'epoch')
  if not v[1] then return { 'MISSING' } end
  local epoch = tonumber(v[4] or 0)
  if v[2] ~= args[1] then
    if tonumber(v[3] or 0) > t then return { 'BUSY' } end
    epoch = epoch + 1
  end
  redis.call('HSET', keys[1], 'own', args[1], 'till', whole(t + tonumber(args[2])), 'epoch', epoch)
  return { v[1], epoch }
end

-- ARGV: token lease_ms expected, then fields and values. Renews the lease; writes the fields only while the status is the
-- expected one ('' is any). Answers the status that it has then, or FENCED.
local function batch_write(keys, args)
  local v = redis.call('HMGET', keys[1], 'status', 'own')
  if not v[1] or v[2] ~= args[1] then return 'FENCED' end
  redis.call('HSET', keys[1], 'till', whole(now() + tonumber(args[2])))
  if args[3] ~= '' and args[3] ~= v[1] then return v[1] end
  for i = 4, #args, 2 do redis.call('HSET', keys[1], args[i], args[i + 1]) end
  return redis.call('HGET', keys[1], 'status')
end

-- ARGV: token. The next one need not wait for the lease to end.
local function batch_leave(keys, args)
  if redis.call('HGET', keys[1], 'own') == args[1] then redis.call('HSET', keys[1], 'own', '', 'till', 0) end
  return 'OK'
end

-- Answers the status that it has then, or MISSING.
local function batch_cancel(keys)
  local status = redis.call('HGET', keys[1], 'status')
  if status == 'validating' or status == 'in_progress' then
    status = 'cancelling'
    redis.call('HSET', keys[1], 'status', status, 'cancelling_at', whole(math.floor(now() / 1000)))
  end
  return status or 'MISSING'
end

redis.register_function('qc1_batch_take', batch_take)
redis.register_function('qc1_batch_write', batch_write)
redis.register_function('qc1_batch_leave', batch_leave)
redis.register_function('qc1_batch_cancel', batch_cancel)
