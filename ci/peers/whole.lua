-- Eight whole contents, as they are drawn.
local questions = {}

function init()
  for n = 0, 7 do
    questions[n] = wrk.format("GET", string.format("/content/c%05d", n))
  end
end

function request()
  return questions[math.random(0, 7)]
end
