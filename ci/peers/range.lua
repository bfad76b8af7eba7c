-- 64 KiB ranges of eight contents of 16 MiB, as they are drawn.
local questions = {}

function init()
  for n = 0, 2047 do
    local first = n % 256 * 65536
    questions[n] = wrk.format("GET", string.format("/content/c%05d", math.floor(n / 256)), { Range = string.format("bytes=%d-%d", first, first + 65535) })
  end
end

function request()
  return questions[math.random(0, 2047)]
end
