"""How people word what they ask for, in the languages in which answers are read.

Each `Rule` serves `form`. Every repetition in its patterns is bounded, so that a search takes time linear in the
text. The patterns for other languages than English are tried only on a text that may be in one of them.
"""

from __future__ import annotations

import re
from functools import cached_property

EDGE = 700  # characters at the beginning and at the end of a message in which wording is looked for

_TOKEN = re.compile(r"[^\W_]+")
# Words that are common in Latin-script languages other than English, and rare in English.
_OTHER_LANGUAGES = frozenset(
    word
    for line in (
        "le les des du est une dans pour avec que qui quel quelle combien et pas vous donne réponds",  # French
        "der das und ist ein eine einen nicht mit auf wie wer wann wo welche welcher bitte zu von dem",  # German
        "el los las una por con para del es como cual quien cuando donde cuantos",  # Spanish
        "uma da qual quem quando onde foi quantos quantas",  # Portuguese
        "il gli di che chi della nel quale quanti quanto dove",  # Italian
        "het een wat hoe waar welke hoeveel niet wie",  # Dutch
        "jest ile kto kiedy gdzie jak czy nie tak",  # Polish
        "att och ett som hur vad vem det er og hvor hvem hvad hva hvilken",  # Swedish, Norwegian, Danish
        "bir ve kim ne nerede hangi bu mi ile tane",  # Turkish
    )
    for word in line.split()
)


class Wording:
    """The beginning and the end of a message, prepared for the rules."""

    def __init__(self, text: str) -> None:
        text = text.strip()
        self.text = text if len(text) <= 2 * EDGE else f"{text[:EDGE]}\n{text[-EDGE:]}"

    @cached_property
    def tokens(self) -> frozenset[str]:
        return frozenset(_TOKEN.findall(self.text.lower()))

    @cached_property
    def other_language(self) -> bool:
        """Whether it may be written in another language than English."""
        if not self.text.isascii() and any(char.isalpha() and char > "\x7f" for char in self.text):
            return True
        return not self.tokens.isdisjoint(_OTHER_LANGUAGES)

    @cached_property
    def end(self) -> Wording:
        """The last paragraph, at most its last 400 characters."""
        return Wording(self.text.rsplit("\n\n", 1)[-1][-400:])


class Rule:
    """Patterns of one meaning. The English one is tried only if one of the `given` words occurs, if any are listed."""

    def __init__(self, *english: str, other: tuple[str, ...] = (), given: str = "", case: bool = False) -> None:
        flags = re.S if case else re.I | re.S
        self._english = re.compile("|".join(english), flags) if english else None
        self._other = re.compile("|".join(other), flags) if other else None
        self._given = frozenset(given.split())

    def applies(self, wording: Wording) -> bool:
        tried = self._english is not None and (not self._given or not self._given.isdisjoint(wording.tokens))
        if tried and self._english is not None and self._english.search(wording.text):
            return True
        return self._other is not None and wording.other_language and self._other.search(wording.text) is not None


# --- demands on the format -------------------------------------------------------------------------------------

_SAY = (
    r"(?:answer|reply|respond|return|output|give|provide|produce|print|write|say|state|use|choose|pick|format|end|"
    r"finish|select|report|emit)"
)
DEMANDS_JSON = Rule(
    rf"\b{_SAY}\b[^.\n?]{{0,80}}\b(?:valid |strict |pure |raw )?json\b",
    r"\bas (?:an? )?(?:valid |strict |single |minified )?json\b|\bin (?:valid |strict )?json(?: format)?\b|"
    r"\bjson only\b",
    r"\bonly (?:with )?(?:an? )?(?:valid )?json\b|\bjson (?:object|array|format) (?:with|containing|that|of|only)\b",
    r"\b(?:en|im|als|au format|em|in formato|in het|w formacie|i|format[oa]?|в формате|в виде) json\b",
    r"json[- ]?format\b|json\s?(?:格式|形式|对象|物件|で|로|으로|만)|(?:输出|返回|回答|出力|返し)[^。\n]{0,20}json",
)
# Code that has to do with JSON is no answer in JSON.
ASKS_FOR_CODE = Rule(
    r"\b(?:write|create|implement|build|develop|make|code|fix|debug|refactor|show me|how (?:do|can|to|would|should))\b"
    r"[^.\n]{0,80}\b(?:function|script|program|code|class|method|query|regex|app|api|endpoint|parser|module|test|"
    r"parse|convert|serialize|read|load|save)\b",
    other=(
        r"\b(?:schreib|écris|écrivez|escribe|escreva|scrivi|schrijf|napisz|skriv|напиши)\w*\b[^.\n]{0,60}"
        r"\b(?:funktion|fonction|función|função|funzione|functie|funkcj\w|script|programm?|code|код|функци\w)",
    ),
)

_UNIT = (
    r"(?:words?|numbers?|numerals?|letters?|digits?|integers?|numeric(?:al)? (?:value|answer)|yes or no|yes/no|"
    r"true or false|true/false|name|date|year|label|category|option|choice|percentage|symbol)"
)
_FEW = r"(?:one|a single|single|two|three|four|five|[1-5]|(?:at most|up to|no more than|max(?:imum)?(?: of)?) \w{1,5})"
DEMANDS_BREVITY = Rule(
    rf"\b{_SAY}\b[^.\n?]{{0,60}}\b(?:only|just|nothing but|nothing else but|solely|exactly one|a single|one)\b"
    rf"[^.\n?]{{0,30}}\b{_UNIT}\b(?! (?:essay|story|summar|paragraph|sentence|problem|article|poem|at a time))",
    rf"\b(?:in|with|using) {_FEW}[ -]words?\b(?! (?:or more|each|per))|\bone[- ]word (?:answer|reply|response)\b",
    rf"\b{_SAY}\b[^.\n?]{{0,30}}\b(?:yes or no|yes/no|true or false|true/false|y/n|'?\"?yes'?\"? or '?\"?no)\b",
    r"(?:\A|[.?!:\n(]\s{0,3})(?:yes or no|yes/no|true or false|true/false|y/n)\b",
    r"\b(?:yes or no|yes/no|true or false|true/false)\s{0,3}[?.)\]]?\s{0,3}\Z",
    r"\b(?:only|just) the (?:final )?(?:answer|number|value|result|letter|name|word|year|date|digit)s?\b",
    r"\b(?:final )?answer only\b|\b(?:number|word|letter|digit|name|year)s? only\b",
    r"\\boxed|\bthe answer is[:\s]{1,3}(?:\(?x\)?\b|<|\[|_{2,})|\banswer:\s{0,3}(?:<|\[|_{2,})",
    r"####\s{0,3}<?(?:answer|number)",
    given="only just nothing solely exactly single one word words yes true y boxed answer number",
    other=(
        r"\b(?:oui ou non|vrai ou faux|ja oder nein|wahr oder falsch|richtig oder falsch|s[ií] o no|verdadero o falso|"
        r"sim ou não|verdadeiro ou falso|s[ìi] o no|vero o falso|ja of nee|waar of onwaar|tak czy nie|tak lub nie|"
        r"prawda czy fałsz|prawda lub fałsz|ja eller n(?:ej|ei)|sant eller (?:falskt|usant)|"
        r"evet (?:mi|veya|ya da) hayır|doğru mu yanlış mı|да или нет|верно или неверно|правда или ложь)\b",
        r"\b(?:en un (?:seul )?mot|(?:in|mit) einem (?:einzigen )?wort|(?:en|con) una (?:sola )?palabra|"
        r"em uma (?:única |só )?palavra|numa (?:só )?palavra|(?:in|con) una (?:sola )?parola|"
        r"(?:in|met) (?:één|een) (?:enkel )?woord|jednym słowem|med (?:bara |kun )?e(?:tt|t|n) (?:enda |enkelt )?ord|"
        r"tek (?:bir )?kelime\w{0,4}|одним словом)\b",
        r"\b(?:seulement|uniquement|juste|nur|lediglich|solo|sólo|solamente|únicamente|apenas|somente|soltanto|alleen|"
        r"slechts|tylko|wyłącznie|endast|bara|kun|sadece|yalnızca|только|лишь)\b[^.\n?]{0,20}\b(?:le (?:nombre|"
        r"résultat|chiffre|nom|mot)|la (?:réponse|lettre)|die (?:zahl|antwort|lösung|jahreszahl)|der (?:name|"
        r"buchstabe)|"
        r"den (?:namen|buchstaben)|das (?:ergebnis|wort)|el (?:número|resultado|nombre)|la (?:respuesta|letra|risposta|"
        r"lettera)|o (?:número|resultado|nome)|a (?:resposta|letra)|il (?:numero|risultato|nome)|het (?:getal|"
        r"antwoord)|"
        r"de (?:letter|naam)|liczb\w{1,3}|wynik\w{0,3}|odpowied\w{1,3}|siffran|svaret|tallet|bokstaven|sayı\w{0,3}|"
        r"cevab\w{0,3}|число\w{0,2}|ответ\w{0,2}|букв\w{1,2}|цифр\w{1,2})\b",
        r"(?:只|仅|僅|直接)(?:需|要|用|能)?(?:回答|输出|輸出|给出|給出|写出|返回|填写?|说|選|选)",
        r"(?:用|以)?(?:一|两|兩|三)个?個?(?:词|詞|字|单词|數字|数字)(?:来|來)?(?:回答|表示|概括)",
        r"是还是否|是或否|是與否|对还是错|对或错|正確還是錯誤",
        r"(?:数字|単語|一語|一言|名前|答え|記号|文字|番号)(?:だけ|のみ)|一言で|一語で|はい(?:か|または|・|/)いいえ|[○〇]か[×x]",
        r"(?:숫자|단어|이름|정답|답|기호|글자)만\s?(?:답|말|출력|적|써|쓰|알려)|한\s?(?:단어|마디)로",
        r"예(?:\s?또는\s?|/|,\s?)아니(?:오|요)",
    ),
)

CLASSIFIES = Rule(
    r"\b(?:classif\w+|categori[sz]\w*|sentiment|label(?:l?ed)?|one of (?:the following|these)|choose (?:one|"
    r"between|from)|"
    r"pick one|(?:answer|reply|respond)\b[^.\n]{0,20}\b(?:with|either)|is (?:it|this|that|the following)|"
    r"whether|either)\b",
    given="or and with",
)

# --- code and formulas -----------------------------------------------------------------------------------------

ASKS_FOR_OUTPUT = Rule(
    r"\bwhat (?:does|will|would|do|is|are|gets?)\b[^?\n]{0,80}\b(?:print|output|return|evaluate|produce|result|value|"
    r"display|log|show)\w*",
    r"\b(?:predict|complete the assertion|determine|give|state|find|tell me)\b[^.\n]{0,60}\b(?:output|assertion|"
    r"return(?:ed)? value|result|printed|literal)\b|==\s?\?|>>>[^\n]{1,200}\n?\s{0,3}\Z",
    other=(
        r"\b(?:was|que|qué|cosa|wat|co|vad|hva|hvad|ne|что|o que)\b[^?\n]{0,40}\b(?:gibt|affiche|renvoie|retourne|"
        r"imprime|devuelve|retorna|stampa|restituisce|geeft|wypisze|zwróci|skriver|yazdırır|выведет|вернёт|вернет|"
        r"ausgegeben|ausgabe|sortie|salida|saída|uitvoer)",
        r"(?:输出|打印|返回)(?:什么|的?结果|值)|結果は|出力(?:は|され|を答)|返り値|戻り値|출력(?:은|되|값|결과)|반환",
    ),
)
FORMULA = Rule(
    r"\$[^$\n]{0,300}[\\^=+<>_*/()\d-][^$\n]{0,300}\$|\\\(|\\\[|\$\$|\\(?:frac|sqrt|sum|int|cdot|begin)\b"
    r"|\b[a-z]\s?[\^²³]|\b\d{0,4}[a-z]\s?[+*/=-]\s?\d|\d\s?[+*/×÷^=]\s?\(?\d",
)
NUMBER = re.compile(
    r"\d+|\b(?:half|twice|double|triple|two|three|four|five|six|seven|eight|nine|ten|dozen|third|quarter|hundred)\b"
    r"|[二三四五六七八九十百千万两半]",
    re.I,
)
ASKS_FOR_VALUE = Rule(
    r"\b(?:find|compute|calculate|evaluate|determine|simplify|solve|express|factor|estimate|round|what(?:'s)?|"
    r"how (?:many|much|far|long|old|tall|fast|often|big|large|high|deep|heavy|wide)|which|work out|figure out|for what|"
    r"number of|value of|in terms of|expand|rewrite|rationalize|compare the (?:values?|numbers?))\b",
    other=(
        r"\b(?:calcul\w+|berechne\w*|bestimme\w*|löse\w*|trouve\w*|détermine\w*|résou\w+|cal\w{0,3}cula\w*|"
        r"halla\w*|encuentra|"
        r"determina\w*|resuelve|resolva|encontre|trova|risolvi|bereken\w*|oblicz\w*|rozwiąż|wyznacz|beräkna|"
        r"beregn|löse?|"
        r"hesapla\w*|bul\w{0,3}|найд\w+|вычисл\w+|реши\w*|определи\w*|сколько|чему|combien|quelle?|wieviele?|cuánt\w+|"
        r"cuál|quant\w+|qual\w?|hoeveel|ile|kaç|nedir|какой|какова|каково)\b|\b(?:wie viele?|was ist|wat is|"
        r"vad är|hva er)\b",
        r"计算|計算|求|解方程|多少|几|幾|いくつ|いくら|何|구하|계산|몇|얼마",
    ),
)
PROVES = Rule(
    r"\b(?:prove|show) (?:that|why|how|the)\b|\bproof of\b",
    other=(
        r"\b(?:démontre\w*|prouve\w*|beweise\w*|demuestra|prove que|dimostra|bewijs|udowodnij|bevisa|bevis|kanıtla|"
        r"докажи\w*) |证明|證明|証明|증명",
    ),
)
QUANTITY = Rule(
    r"\bhow (?:many|much|old|far|tall|fast|big|large|high|deep|heavy|wide|long)\b"
    r"(?! (?:can|should|do|would) (?:I|you|we)\b)",
    r"\bwhat (?:percent(?:age)?|fraction|number|year|time|age)\b",
    r"\bwhat(?:'s| is| was| are| were| will be| would be)\b[^?.\n]{0,60}\b(?:total|sum|number|amount|average|"
    r"mean|median|"
    r"percentage|probability|area|volume|perimeter|circumference|length|width|height|distance|speed|velocity|"
    r"weight|mass|"
    r"density|price|cost|profit|age|difference between \d|remainder|quotient|product of|square root|value|temperature|"
    r"population|ratio|radius|diameter|angle|slope|derivative|integral|balance|interest rate)\b"
    r"(?! of (?:life|education|reading|learning|love|art|friendship|honesty))[^?\n]{0,200}\?",
    given="how what",
    other=(
        r"\b(?:combien|wie ?viele?|wie (?:alt|weit|hoch|lang|groß|schwer|tief|schnell)|cuánt[oa]s?|"
        r"quant[oaie]s?|hoeveel|"
        r"hoe (?:oud|ver|hoog|lang|groot|zwaar)|ile|hur (?:många|mycket|gammal|långt|hög|lång)|hvor (?:mange|mye|meget|"
        r"gammel|langt|høy|lang)|kaç|ne kadar|сколько|какова (?:площадь|вероятность|сумма|высота|длина))\b",
        r"多少|几(?:个|岁|年|天|人|次|只|本|名|位|点|米|公里|块|元|种|倍)|幾(?:個|歲|年|天|人|次|隻|本|名|位|點|種)|多(?:高|长|長|远|遠|大|重|深|宽|寬)",
        r"いくつ|いくら|何(?:個|人|年|歳|回|本|枚|冊|匹|台|階|時間|分|日|月|メートル|キロ|円|ドル|度|パーセント|％|%|倍|番|つ|グラム|平方)",
        r"몇|얼마",
    ),
)

# --- texts that are to be written ------------------------------------------------------------------------------

_POLITE = (
    r"(?:(?:hi|hello|hey|ok(?:ay)?|so|now|then|first|also|and|great|thanks?(?: you)?)[,.!]?\s{1,3}){0,3}"
    r"(?:(?:please|kindly|just)[,]?\s{1,3}){0,2}"
    r"(?:(?:can|could|would|will) you (?:(?:please|kindly|also|just|possibly) ){0,3}|I(?:'d| would) like you to |"
    r"I (?:want|need) you to |(?:I )?need (?:you )?to |(?:the|your) (?:task|job|goal) is to |"
    r"you (?:should|must|need to|will|have to|are (?:asked|required|going) to|will be (?:asked|required) to) |"
    r"let(?:'s| us) |we (?:need|want) to )?(?:please )?(?:help me (?:to )?|try to )?"
)
_VERBS = (
    r"write|rewrite|re-write|draft|compose|create|generate|explain|describe|summari[sz]e|sum up|translate|discuss|"
    r"tell (?:me|us)|brainstorm|suggest|recommend|design|plan|outline|paraphrase|rephrase|reword|elaborate|improve|"
    r"edit|proofread|polish|shorten|analy[sz]e|evaluate (?:the (?:article|essay|text|argument|following (?:essay|text|"
    r"article))|each answer)|expand (?:on|the (?:sentence|text|given))|compare|contrast|critique|review|develop|build|"
    r"implement|refactor|debug|fix|optimi[sz]e|make|give (?:me|us|some|an?|the|examples|students|tips|advice|reasons)|"
    r"provide|propose|show me|teach|pretend|imagine|act as|role-?play|continue|structure|format|convert|"
    r"turn (?:this|the|it|my)|transform|adapt|extend|list|prepare|produce|craft|invent|think of|come up with|"
    r"reply to (?:this|the|my)|respond to (?:this|the|my)|message to|walk me through|assume (?:the|a) role|"
    r"assist|advise|"
    r"argue|phrase|add (?:comments|tests|a|an|error|type|documentation)|set up|configure|find (?:sentences|information|"
    r"examples|a way|me)|extract|identify (?:all|the (?:main|key|themes|issues))|look for|simplify (?:the (?:text|"
    r"sentence|paragraph|following (?:text|sentence|paragraph))|this|\")|correct (?:the|this|my)|change (?:the|this)|"
    r"combine|organi[sz]e|draw|sketch|chat|talk|introduce|interpret|comment on|reflect on|highlight|present|illustrate|"
    r"demonstrate|share|take (?:the|this)|using (?:the|this)"
)
# The object is the answer itself: "write your answer as a fraction", "give the number of days".
_NO_TEXT = (
    r"(?![(]| (?:(?:me |down |out )?(?:your|the|an?|only|just|my|its?|both|all)? ?(?:final |exact |simplest |correct |"
    r"numerical |numeric )?(?:answers?|results?|values?|number|solution set|letter|expression|product)\b|"
    r"how (?:many|much|far|long|old|tall)\b|(?:your|the) reasoning|sure\b|who\b|what (?:year|time|day)|whether|if\b))"
)
_AT_SENTENCE = r"(?:\A|[.?!:\n]\s{0,3})[\s\"'*#>-]{0,4}"
STARTS_PRODUCING = re.compile(rf"\A[\s\"'*#>-]{{0,6}}{_POLITE}(?:{_VERBS})\b{_NO_TEXT}", re.I)
ASKS_FOR_TEXT = Rule(
    rf"{_AT_SENTENCE}{_POLITE}(?:{_VERBS})\b{_NO_TEXT}",
    rf"(?:[,;]\s{{1,3}}|\band )(?:please )?(?:explain|describe|discuss|summari[sz]e|translate|rewrite|"
    rf"write (?:an?|the|me)|"
    rf"tell me|give (?:me|reasons|some|examples)|suggest|compare)\b{_NO_TEXT}",
    other=(
        r"\b(?:écri(?:s|vez)|rédige\w*|explique\w*|décri(?:s|vez)|résume\w*|tradui\w+|donne[zr]?(?:-moi)?|propose\w*|"
        r"compare\w*|raconte\w*|crée\w*|génère\w*|imagine\w*|reformule\w*|corrige\w*|améliore\w*|parle[zr]?-moi)\b",
        r"\b(?:schreib\w*|verfass\w*|erklär\w*|beschreib\w*|fass\w{0,3}\b.{0,60}zusammen|übersetz\w*|erstell\w*|"
        r"erzähl\w*|"
        r"nenn\w* mir|vergleich\w*|formulier\w*|entwirf|entwickl\w*|diskutier\w*|verbesser\w*|korrigier\w*|"
        r"gib mir|schlag\w*)\b",
        r"\b(?:escrib[ae]\w*|redact[ae]\w*|expli(?:ca|que)\w*|describ[ae]\w*|resum[ae]\w*|traduc\w+|traduzc?\w+|"
        r"traduza|dame|"
        r"dime|cuéntame|crea|genera|compara|reescrib\w+|escrev\w+|reescrev\w+|descrev\w+|crie|gere|conte-me|melhor[ea]|"
        r"mejora|corrige|corrija)\b",
        r"\b(?:scriv[ia]\w*|spiega\w*|descriv[ia]\w*|riassum[ia]\w*|traduci\w*|racconta\w*|riscriv\w+|confronta|"
        r"elenca|dammi|"
        r"schrijf|leg .{0,40}uit|beschrijf|vat .{0,60}samen|vertaal|vertel|maak een|geef me|herschrijf|vergelijk)\b",
        r"\b(?:napisz|wyjaśnij|opisz|streść|podsumuj|przetłumacz|opowiedz|stwórz|porównaj|zaproponuj|popraw|"
        r"skriv|förklara|"
        r"forklar|beskriv|sammanfatta|oppsummer|opsummer|översätt|oversett|oversæt|berätta|fortell|fortæl|"
        r"jämför|sammenlign|"
        r"ge mig|gi meg)\b",
        r"\b(?:yaz|yazar mısın\w*|açıkla\w*|özetle\w*|çevir\w*|anlat\w*|tarif et\w*|karşılaştır\w*|öner\w*|"
        r"oluştur\w*)\b",
        r"\b(?:напиши\w*|объясни\w*|опиши\w*|перескаж\w*|переведи\w*|расскажи\w*|сравни\w*|составь\w*|придумай\w*|"
        r"предложи\w*|создай\w*|перепиши\w*|исправь\w*|резюмируй\w*|кратко изложи\w*)\b",
        r"写(?:一|出|个|篇|封|首|段)|寫(?:一|出|個|篇|封|首|段)|解释|解釋|描述|翻译|翻譯|总结|總結|概括|介绍|介紹|润色|改写|改寫|列出|列举|推荐|"
        r"建议|講(?:一|個)|讲(?:一|个)|谈谈|比较|为什么|為什麼|怎么样|如何",
        r"書いて|説明して|翻訳して|訳して|要約して|まとめて|作って|作成して|考えて|比較して|紹介して|提案して|なぜ|どうして|どうすれば|方法",
        r"써\s?(?:줘|주세요|줄)|작성해|설명해|번역해|요약해|만들어|추천해|소개해|비교해|제안해|왜\b|어떻게|방법",
    ),
)
NAMES_A_TEXT = Rule(
    r"\A(?!\W{0,3}who(?:se|m)?\b).{0,1400}\b(?:essay|haiku|limerick|blog post|cover letter|press release|"
    r"itinerary|meal plan|"
    r"lesson plan|step-by-step guide|tutorial|recipes?|tips|pros and cons|advantages and disadvantages|in detail|"
    r"detailed explanation|in your own words|recommendations?|suggestions?|some advice|some ideas|to-do list|"
    r"bullet points|(?:an?|short|some) (?:poem|story|screenplay|speech|song))\b",
    given="essay haiku limerick post letter release itinerary plan guide tutorial recipe recipes tips pros advantages "
    "detail detailed words recommendation recommendations suggestion suggestions advice ideas list bullet poem story "
    "screenplay speech song",
)
# "Rewrite the following", with a text below that may have lettered lines of its own.
REWORKS_TEXT = re.compile(
    rf"\A[\s\"'*#>-]{{0,6}}{_POLITE}(?:rewrite|re-write|summari[sz]e|translate|paraphrase|rephrase|proofread|"
    rf"edit|polish|"
    r"improve|shorten|format|reformat|continue|review)\s(?:the following|this|these|the|my|it)\b(?!.{0,60}\boptions?\b)"
    r"(?! (?:\w+ )?(?:expression|equation|sentence into|formula|number)s?\b)",
    re.I,
)

# --- bare questions --------------------------------------------------------------------------------------------

HOW_TO = Rule(
    r"\bhow (?:can|could|do|should|would) (?:I|we|you|one|someone)\b|\bdo you have any\b|\bwhat happens\b"
    rf"|{_AT_SENTENCE}how to\b"
    r"|\bwhat (?:do(?:es)?|did)\b[^?]{0,60}\bdo\s?\?",
    given="how you happens do",
)
WANTS_EXPLANATION = Rule(
    r"\A\W{0,3}(?:(?:hi|hello|hey|so|and|but|ok)[,.! ]{1,3})?(?:why|how come|how(?:'s| (?:do|does|did|can|could|"
    r"to|would|"
    r"should|is|are|was|were|will|has|have|might|about|exactly|best|well))|what (?:if|about|happens|happened|"
    r"would|should|"
    r"could|can|do(?:es)?|did|might|(?:exactly |really |actually )?(?:makes?|causes?|caused)|to|are (?:some|the (?!two|"
    r"three|four|five|six|seven|first|last|only|odds|names?)\w+|your|you|good|any|examples)|else)|where (?:can|could|"
    r"should|would|do|to) (?:I|we|you|one|buy|find)|when (?:should|can|do|would) (?:I|we|you|one)|"
    r"when (?:I|you|we|he|she|they)\b|can (?:you|I|we)|could you|would you|will you|do you|are you|have you|"
    r"did you|any|best|"
    r"tell me|who are you)\b(?! (?:the name|.{0,40}stand for))",
    r"\A.{0,5}what(?:'s| is| was| are)(?: the)? (?:\w+ ){0,3}?(?:difference|purpose|importance|role|"
    r"significance|impact|"
    r"meaning of life|relationship|process|reasons?|point|best way|way|benefits?|advantages?|history|concept|idea|plot|"
    r"story|function|cause|effects?|definition|explanation|theory|theme|philosophy|science behind|deal|problem|error|"
    r"issue|solution|structure|future|state of|difference between)\b",
    # "What is a Dyson sphere?" wants an explanation, "What is the capital of Peru?" a name.
    r"\A.{0,5}what(?:'s| is| are| was| were) (?!the (?:[\w'’-]+ ){1,8}(?:of|for|in|on|between|from|that|to|who|"
    r"with|by|at|"
    r"which|called)\b)(?!\w+[’']s\b)(?!.{0,80}\b(?:called|named|known as|name|capital|colou?r|abbreviation|"
    r"nickname)\b)",
    r"\bwhat (?:kinds?|types?|sorts?|steps|things|factors|ways|tips|strateg\w+|advice|features|examples|"
    r"benefits|skills|"
    r"methods|tools|ideas|questions|topics|foods|books|movies|gifts|activities|measures|precautions|qualities|"
    r"role|impact|"
    r"effects?|lessons|parts|words)\b",
    r"\b(?:your|you)\b.{0,60}\b(?:think|opinion|favou?rite|feel|recommend|prefer)\b|\bexamples? of\b|"
    r"\bis it (?:worth|ok|okay|safe|bad|good|better|normal|rude|weird)\b|\bshould\b|"
    r"\bthere (?:any|some|a (?:good |better |way|difference))",
)
# A question about the person who asks is a conversation; in quotes, and after "who", these words are a title.
PERSONAL = Rule(
    r"\A(?!\W{0,3}(?:[Ww]ho(?:se|m)?|[Ww]hich)\b).{0,400}\b(?:I|I'm|I've|I'd|my|we|our|me|us)\b(?![^\"“”]{0,80}[\"”])",
    case=True,
    given="i my we our me us",
)

_START = r"(?:\A\W{0,3}(?:(?:and|so|now|then|also|q(?:uestion)?|\d{1,3})[:,.)]?\s{1,3}){0,2}|[.?!:;,\n—–-]\s{0,3})"
FACTUAL = Rule(
    rf"{_START}(?:who(?:se|m)?|when|where|which|in (?:which|what))\b",
    r"\b(?:in|of|for|by|at|on|from|to|after|with|under|during|about|into|as|between|than|is|was|are|were) "
    r"(?:which|what|whose|whom)\b",
    r"\A\W{0,3}what(?:'s| is| was| are| were)? \w+",
    r"[^\W_],? (?:which|who|whose|what (?:is|was|are|were|did|does|\w+ (?:is|was|are|were|"
    r"did))) [^?\n]{2,160}\?\W{0,3}\Z",
    r" (?:what|who|whom|which)\?\W{0,3}\Z",
    r"\A\W{0,3}(?:name|identify|give the name of|state the name of) (?:the|this|a|an|one|either|any)\b",
    r"\bis (?:called|known as|named|said to be)\s{0,3}(?:what)?\??\Z|\bstands? for\b",
    other=(
        r"\A\W{0,3}(?:qui(?! (?:es|êtes))|quand|où|quel(?:le)?s?|dans quel\w*|en quelle|wer|wann|wo|welche[rsnm]?|"
        r"in welche[rmn]|wie hei(?:ß|ss)t|quién(?:es)?|cuándo|dónde|cuál(?:es)?|(?:en )?qué (?:año|país|ciudad|color|"
        r"idioma)|cómo se llama|chi|quando|dove|qual(?:e|i|'è)?|in (?:che|quale)|quem|onde|em que|wanneer|waar|welke?|"
        r"in welk\w?|hoe heet|kto|kiedy|gdzie|jak się nazywa|jaki\w*|który|która|w którym|vem|när|var|vilk\w+|hvem|"
        r"hvornår|når|hvilke\w*|kim|ne zaman|nerede|hangi|кто|когда|где|как(?:ой|ая|ое|ие)|в как\w+|как называется)\b",
        r"\b(?:kimdir|nerededir|hangisidir|kim (?:yazdı|buldu|icat etti)|ne zaman|neresidir|hangi)\b",
        r"(?:谁|誰|什么时候|甚麼時候|何时|哪里|哪裡|哪(?:个|個|一|年|国|國|座|位|种|條|条)|什么(?:名字|颜色|城市|国家|地方|名)|首都是|叫什么|是什么(?:？|\?)?\Z)",
        r"(?:誰|いつ|どこ|どの|どれ|何(?:です|でしょう|と(?:いう|呼)|が|を|という|色|語|県|国|州)|首都は|名前は)",
        r"(?:누구|언제|어디|어느|무엇(?:입|인|이)|뭐(?:야|예요|입)|무슨)",
    ),
)
POLAR = Rule(
    r"\A\W{0,3}(?:is|are|was|were|did|does|do|has|have|had|can|could|will|would|isn't|aren't|doesn't|didn't|wasn't)\b"
    r"[^?\n]{2,250}\?\s{0,3}\Z",
    r"[.!]\s{1,3}(?:is|are|was|were|did|does|do|has|have) [^?.\n]{3,160}\?\s{0,3}\Z",
    other=(
        # Ist die Erde rund? Est-ce que … ? ¿Es … ? Czy … ? Является ли …? … mi?
        r"\A\W{0,3}(?:est-ce que|est-(?:il|elle|ce)|ist|sind|war|hat|haben|gibt es|¿?(?:es|son|está|fue|existe)|"
        r"è|sono|é|"
        r"são|foi|is|zijn|heeft|czy|är|er|har|finns)\b[^?\n]{2,250}\?\s{0,3}\Z",
        r"\A[^?\n]{1,80},? (?:est|sont|a|ont|peut)-(?:t-)?(?:il|elle|ils|elles|on)\b[^?\n]{0,160}\?\s{0,3}\Z",
        r"\bли\b[^?\n]{1,200}\?|\bm[ıiuü](?:d[ıiuü]r|yd[ıiuü]|s[ıiuü]n\w*)?\?\s{0,3}\Z",
        r"(?:吗|嗎)[？?。]?\s{0,3}\Z|是不是|是否|(?:です|ます|でした|ました|った|る|ない)(?:か|かな)[？?。]?\s{0,3}\Z",
        r"(?:입니까|인가요|나요|가요|니까|까)[？?]?\s{0,3}\Z",
    ),
)
# What makes a yes-or-no question one that can be settled: it compares, or it is about numbers.
COMPARES = Rule(
    r"\b(?:(?<!other )than|equal to|divisible|prime|even|odd|the same as|greater|less|bigger|smaller|taller|"
    r"older|before|after)\b|\d",
    other=(
        r"\b(?:als|que|plus|di|dan|niż|än|enn|end|daha|чем|больше|меньше|старше|выше)\b",
        r"比|大于|小于|より|보다",
    ),
)
