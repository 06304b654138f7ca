-- wrk's requests: METHOD PATH PREFIX [FILE WITH THE BODY] after "--" on its command line. "@n@" in the
-- path and in the body stands for the prefix and the number of the request, so that none is like another.
local method, path, prefix, parts
local number = 0

local function numbered(text)
   local pieces = {}
   for piece in (text .. "@n@"):gmatch("(.-)@n@") do
      table.insert(pieces, piece)
   end
   return pieces
end

function init(args)
   method, path, prefix = args[1], numbered(args[2]), args[3]
   if args[4] then
      local file = assert(io.open(args[4], "rb"))
      parts = numbered(file:read("*a"))
      file:close()
   end
   if #path == 1 and (parts == nil or #parts == 1) then
      local same = wrk.format(method, path[1], nil, parts and parts[1])
      request = function() return same end
   end
end

function request()
   number = number + 1
   local name = prefix .. number
   return wrk.format(method, table.concat(path, name), nil, parts and table.concat(parts, name))
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
      errors.connect + errors.read + errors.write + errors.timeout))
end
