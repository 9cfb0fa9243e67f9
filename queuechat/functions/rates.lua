-- How many requests and tokens of one API key are let in per minute: two buckets that fill by themselves, so nothing
-- has to be given back for a limit to heal. And how many wrong keys one address may try.
--
-- KEYS[1]  hash    qc:limit:{<key>}:rate: requests, tokens (what is left; tokens may be owed), at (ms)
--          string  qc:limit:{<key>}:paid:<id>: tokens that a request has paid ahead, and who paid, until that one settles it

local MINUTE_MS = 60000

local function filled(left, limit, ms)
  return math.min(limit, (tonumber(left) or limit) + ms * limit / MINUTE_MS)
end

local function read_buckets(key, rpm, tpm, t)
  local v = redis.call('HMGET', key, 'requests', 'tokens', 'at')
  local ms = math.max(t - (tonumber(v[3]) or t), 0)
  return filled(v[1], rpm, ms), filled(v[2], tpm, ms)
end

local function ms_until(left, wanted, limit)
  return limit == 0 and 0 or math.max(math.ceil((wanted - left) * MINUTE_MS / limit), 0)
end

-- Full buckets need not be remembered.
local function write_buckets(key, requests, tokens, rpm, tpm, t)
  redis.call('HSET', key, 'requests', string.format('%.3f', requests), 'tokens', string.format('%.3f', tokens), 'at', t)
  redis.call('PEXPIRE', key, math.max(ms_until(requests, rpm, rpm), ms_until(tokens, tpm, tpm)) + 1)
end

local function paid_key(key, id)
  return string.sub(key, 1, -5) .. 'paid:' .. id
end

-- ARGV: rpm tpm id tokens keep_ms payer (0: no such limit). The same request pays once, whoever asks for it again. One that asks for more than a whole
-- minute's tokens pays with a full bucket, and owes the rest if it comes to that.
-- Answers ms to wait (0: let in), requests left, ms until all are, tokens left, ms until all are.
local function spend(keys, args)
  local key, t, rpm, tpm = keys[1], now(), tonumber(args[1]), tonumber(args[2])
  local requests, tokens = read_buckets(key, rpm, tpm, t)
  local price, wait = math.min(tonumber(args[4]), tpm), 0
  if redis.call('EXISTS', paid_key(key, args[3])) == 0 then
    wait = math.max(ms_until(requests, 1, rpm), ms_until(tokens, price, tpm))
    if wait == 0 then
      requests, tokens = requests - math.min(rpm, 1), tokens - price
      redis.call('SET', paid_key(key, args[3]), price .. ' ' .. (args[6] or ''), 'PX', args[5])
      write_buckets(key, requests, tokens, rpm, tpm, t)
    end
  end
  return { wait, math.floor(math.max(requests, 0)), ms_until(requests, rpm, rpm),
    math.floor(math.max(tokens, 0)), ms_until(tokens, tpm, tpm) }
end

-- ARGV: rpm tpm id tokens payer. What the request has really used. Answers OK, or ALREADY: another has paid, or nobody.
local function settle(keys, args)
  local key, t, rpm, tpm = keys[1], now(), tonumber(args[1]), tonumber(args[2])
  local paid, payer = string.match(redis.call('GET', paid_key(key, args[3])) or '', '^(%S+) ?(.*)$')
  if not paid or payer ~= (args[5] or '') then return 'ALREADY' end
  local requests, tokens = read_buckets(key, rpm, tpm, t)
  redis.call('DEL', paid_key(key, args[3]))
  write_buckets(key, requests, math.min(tpm, tokens + paid - args[4]), rpm, tpm, t)
  return 'OK'
end

-- KEYS[1] string qc:limit:from:<address>. Answers how many wrong keys came from there within a minute of the first, and
-- ms until they are forgotten.
local function wrong_key(keys)
  local count = redis.call('INCR', keys[1])
  if count == 1 then redis.call('PEXPIRE', keys[1], MINUTE_MS) end
  return { count, redis.call('PTTL', keys[1]) }
end

redis.register_function('qc1_spend', spend)
redis.register_function { function_name = 'qc1_settle', callback = settle, flags = { 'allow-oom' } }
redis.register_function('qc1_wrong_key', wrong_key)
