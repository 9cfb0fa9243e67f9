-- How many requests of one API key are answered at a time: leases, not counters, so that a server which dies with its
-- requests gives their places back by doing nothing.
--
-- KEYS[1]  zset  qc:limit:<key>:running: request by when its lease ends (ms)

-- ARGV: limit lease_ms id. Answers OK, SAME (it has a place already) or OVER.
local function hold(keys, args)
  local t, running = now(), keys[1]
  redis.call('ZREMRANGEBYSCORE', running, '-inf', t)
  local same = redis.call('ZSCORE', running, args[3])
  if not same and redis.call('ZCARD', running) >= tonumber(args[1]) then return 'OVER' end
  redis.call('ZADD', running, t + tonumber(args[2]), args[3])
  redis.call('PEXPIRE', running, args[2])
  return same and 'SAME' or 'OK'
end

-- ARGV: lease_ms id [id ...]. What still has a place keeps it; a late call brings back none that was given up.
local function keep(keys, args)
  local t = now()
  for i = 2, #args do redis.call('ZADD', keys[1], 'XX', t + tonumber(args[1]), args[i]) end
  redis.call('PEXPIRE', keys[1], args[1])
  return 'OK'
end

redis.register_function('qc1_hold', hold)
redis.register_function { function_name = 'qc1_keep', callback = keep, flags = { 'allow-oom' } }
