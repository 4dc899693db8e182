"""The tables behind normalization of quantities: currencies, scales, units, signs."""

from bitjets_mlx.text.words import listed, words

# symbol: (one, many, one hundredth, hundredths)
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "US$": ("U S dollar", "U S dollars", "cent", "cents"),
    "A$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "AU$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "C$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "CA$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "NZ$": ("New Zealand dollar", "New Zealand dollars", "cent", "cents"),
    "HK$": ("Hong Kong dollar", "Hong Kong dollars", "cent", "cents"),
    "MX$": ("Mexican peso", "Mexican pesos", "centavo", "centavos"),
    "NT$": ("Taiwan dollar", "Taiwan dollars", "cent", "cents"),
    "Mex$": ("Mexican peso", "Mexican pesos", "centavo", "centavos"),
    "CAD$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "AUD$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "S$": ("Singapore dollar", "Singapore dollars", "cent", "cents"),
    "R$": ("real", "reais", "centavo", "centavos"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₽": ("ruble", "rubles", "kopek", "kopeks"),
    "₩": ("won", "won", "jeon", "jeon"),
    "₿": ("bitcoin", "bitcoins", "", ""),
    "₺": ("lira", "lira", "kurus", "kurus"),
    "₪": ("shekel", "shekels", "agora", "agorot"),
    "₫": ("dong", "dong", "", ""),
    "₱": ("peso", "pesos", "centavo", "centavos"),
    "₦": ("naira", "naira", "kobo", "kobo"),
}

# written after the amount
CURRENCY_CODES = {
    "USD": CURRENCIES["US$"], "EUR": CURRENCIES["€"], "GBP": ("British pound", "British pounds", "penny", "pence"),
    "JPY": ("Japanese yen", "Japanese yen", "", ""), "CAD": CURRENCIES["C$"], "AUD": CURRENCIES["A$"],
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"), "INR": ("Indian rupee", "Indian rupees", "", ""),
    "CNY": ("Chinese yuan", "Chinese yuan", "", ""), "RMB": ("renminbi", "renminbi", "", ""),
    "SEK": ("Swedish krona", "Swedish kronor", "", ""), "NOK": ("Norwegian krone", "Norwegian kroner", "", ""),
    "DKK": ("Danish krone", "Danish kroner", "", ""), "PLN": ("Polish zloty", "Polish zloty", "", ""),
    "CZK": ("Czech crown", "Czech crowns", "", ""), "HUF": ("Hungarian forint", "Hungarian forints", "", ""),
    "RUB": ("Russian ruble", "Russian rubles", "", ""), "BRL": ("Brazilian real", "Brazilian reais", "", ""),
    "MXN": ("Mexican peso", "Mexican pesos", "", ""), "ZAR": ("South African rand", "South African rand", "", ""),
    "SGD": ("Singapore dollar", "Singapore dollars", "cent", "cents"), "KRW": ("Korean won", "Korean won", "", ""),
    "THB": ("Thai baht", "Thai baht", "", ""), "AED": ("dirham", "dirhams", "", ""), "ILS": ("shekel", "shekels", "",
    ""),
    "TRY": ("Turkish lira", "Turkish lira", "", ""), "PKR": ("Pakistani rupee", "Pakistani rupees", "", ""),
    "Rs": ("rupee", "rupees", "paisa", "paise"), "zl": ("zloty", "zloty", "", ""), "kr": ("krone", "kroner", "", ""),
    "Kc": ("crown", "crowns", "", ""), "BTC": CURRENCIES["₿"], "NZD": CURRENCIES["NZ$"], "HKD": CURRENCIES["HK$"],
    "€": CURRENCIES["€"], "£": CURRENCIES["£"], "$": CURRENCIES["$"], "¥": CURRENCIES["¥"],
}  # fmt: skip

SCALES = {
    "hundred": "hundred", "thousand": "thousand", "million": "million", "billion": "billion", "trillion": "trillion",
    "quadrillion": "quadrillion", "k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million",
    "mil": "million", "mm": "million", "MM": "million", "b": "billion", "B": "billion", "bn": "billion",
    "Bn": "billion", "BN": "billion", "T": "trillion", "tn": "trillion", "trn": "trillion",
}  # fmt: skip

_PREFIXED = {
    "m": "meter", "g": "gram", "l": "liter", "L": "liter", "s": "second", "Hz": "hertz", "W": "watt", "V": "volt",
    "A": "amp", "Wh": "watt hour", "J": "joule", "Pa": "pascal", "N": "newton", "B": "byte", "bps": "bit per second",
    "mol": "mole", "F": "farad", "Ah": "amp hour", "eV": "electron volt", "cal": "calorie", "bar": "bar",
    "b": "bit",
}  # fmt: skip
_PREFIXES = {
    "kilo": ("k", "m g l L Hz W V A Wh J Pa N B bps cal eV mol b"),
    "mega": ("M", "Hz W V Wh J Pa N B bps eV b"),
    "giga": ("G", "Hz W Wh J Pa B bps eV b"),
    "tera": ("T", "Hz W Wh B bps eV b"),
    "peta": ("P", "B"),
    "hecto": ("h", "Pa"),
    "deci": ("d", "m l L"),
    "centi": ("c", "m l L"),
    "milli": ("m", "m g l L s W V A mol Ah bar"),
    "micro": ("micro", "m g l L s W V A F mol"),
    "nano": ("n", "m g s V F mol"),
}

# symbol: (one, many); symbols that are also words or letters need the context that quantities.py asks for
UNITS: dict[str, tuple[str, str]] = {
    "in": ("inch", "inches"), "ft": ("foot", "feet"), "yd": ("yard", "yards"), "yds": ("yard", "yards"),
    "mi": ("mile", "miles"), "oz": ("ounce", "ounces"), "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"),
    "gal": ("gallon", "gallons"), "qt": ("quart", "quarts"), "tbsp": ("tablespoon", "tablespoons"),
    "tsp": ("teaspoon", "teaspoons"), "cwt": ("hundredweight", "hundredweight"), "ha": ("hectare", "hectares"),
    "sec": ("second", "seconds"), "secs": ("second", "seconds"), "min": ("minute", "minutes"),
    "mins": ("minute", "minutes"), "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"),
    "wk": ("week", "weeks"), "wks": ("week", "weeks"), "yr": ("year", "years"), "yrs": ("year", "years"),
    "mo": ("month", "months"), "mos": ("month", "months"), "d": ("day", "days"),
    "mph": ("mile per hour", "miles per hour"), "kph": ("kilometer per hour", "kilometers per hour"),
    "kmh": ("kilometer per hour", "kilometers per hour"), "km/h": ("kilometer per hour", "kilometers per hour"),
    "mpg": ("mile per gallon", "miles per gallon"), "fps": ("frame per second", "frames per second"),
    "rpm": ("revolution per minute", "revolutions per minute"), "bpm": ("beat per minute", "beats per minute"),
    "wpm": ("word per minute", "words per minute"), "psi": ("pound per square inch", "pounds per square inch"),
    "ppm": ("part per million", "parts per million"), "dpi": ("dot per inch", "dots per inch"),
    "px": ("pixel", "pixels"), "pt": ("point", "points"), "pts": ("points", "points"), "pp": ("page", "pages"),
    "dB": ("decibel", "decibels"), "cc": ("cubic centimeter", "cubic centimeters"), "hp": ("horsepower", "horsepower"),
    "cal": ("calorie", "calories"), "atm": ("atmosphere", "atmospheres"), "ohms": ("ohm", "ohms"),
    "KB": ("kilobyte", "kilobytes"), "Kb": ("kilobit", "kilobits"),
    "Kbps": ("kilobit per second", "kilobits per second"),
    "mcg": ("microgram", "micrograms"), "mmHg": ("millimeter of mercury", "millimeters of mercury"),
    "kbit": ("kilobit", "kilobits"), "Mbit": ("megabit", "megabits"), "Gbit": ("gigabit", "gigabits"),
    "Nm": ("newton meter", "newton meters"), "lm": ("lumen", "lumens"), "lx": ("lux", "lux"),
    "kgf": ("kilogram force", "kilograms force"), "Gy": ("gray", "grays"), "Sv": ("sievert", "sieverts"),
    "mSv": ("millisievert", "millisieverts"), "MPa": ("megapascal", "megapascals"), "inHg": ("inch of mercury",
    "inches of mercury"),
    "IU": ("international unit", "international units"), "fl oz": ("fluid ounce", "fluid ounces"),
    "sq": ("square", "square"), "mol": ("mole", "moles"), "Hz": ("hertz", "hertz"), "Wh": ("watt hour", "watt hours"),
    "eV": ("electron volt", "electron volts"), "Pa": ("pascal", "pascals"), "kt": ("knot", "knots"),
    "kts": ("knot", "knots"), "MP": ("megapixel", "megapixels"), "kn": ("knot", "knots"),
}  # fmt: skip
UNITS.update({symbol: (_PREFIXED[symbol], _PREFIXED[symbol] + "s") for symbol in words("m g l L s W V")})
for _prefix, (_letter, _bases) in _PREFIXES.items():
    for _base in _bases.split():
        _name, _sep, _rest = _PREFIXED[_base].partition(" per ")
        _many = _name if _name == "hertz" else _name + "s"
        UNITS[_letter + _base] = (_prefix + _name + _sep + _rest, _prefix + _many + _sep + _rest)

# These mean their unit only where they touch the number ("30s", "5A").
TOUCHING = words("s d in mo pt pp bar mol Pa atm MP kn")

# The units that stand behind powers of ten, decimal commas and in ranges.
COMMON_UNITS = tuple(
    unit
    for unit in listed(
        """
        m km cm mm nm g kg mg l L ml mL s ms ns h min Hz kHz MHz GHz W kW MW V kV mA kJ Pa kPa KB MB GB TB kWh mol eV in
        ft yd mi lb lbs oz mph km/h kph dB cal kcal ha atm bar
        """
    )
    if unit in UNITS
)

SIGNS = {
    "&": "and", "@": "at", "%": "percent", "+": "plus", "=": "equals", "×": "times", "°": "degrees", "#": "number",
    "~": "about", "<": "less than", ">": "greater than", "$": "dollars", "£": "pounds", "€": "euros", "¥": "yen",
    "₹": "rupees", "₽": "rubles", "₩": "won", "₿": "bitcoin", "¢": "cents", "₺": "lira", "₪": "shekels", "₫": "dong",
    "₱": "pesos", "₦": "naira",
}  # fmt: skip
