"""Who writes in the demo, about what, and to whom. Every address is of a reserved domain (RFC 2606)."""

NAME = "Northwind Coffee"
EMAIL = "hello@northwind.example.com"
POSTAL_ADDRESS = "Northwind Coffee, 12 Harbour Lane, Bergen, Norway"
BRANDING = {
    "primary_colour": "#2f5bea",
    "social_links": {
        "Instagram": "https://www.example.com/northwind",
        "LinkedIn": "https://www.example.org/northwind",
    },
}

VOICE = {
    "about": "Northwind Coffee roasts small batches in Bergen and sends them out the same day.",
    "audience": "people who brew at home and like to know where their coffee comes from",
    "tone": "warm, concrete, unhurried; never salesy",
    "do": ["Name the farm and the region.", "Say what it tastes like in everyday words."],
    "dont": ["Use exclamation marks.", "Promise what a cup of coffee cannot keep."],
    "banned_words": ["artisanal", "exclusive"],
    "preferred_words": {"users": "readers"},
    "samples": ["The first bag is never the best one. Give it a week, and a finer grind."],
    "sign_off": "Until the next roast,\nthe people at Northwind",
}

TOPIC = (
    "Introduce our new winter coffee from the Guji highlands in Ethiopia. It tastes of apricot and "
    "black tea. It ships from Monday on, and a brewing guide comes with each bag."
)

LIST = "Friends of the roastery"

_PEOPLE = (
    ("Ingrid", "Solberg", "ingrid.solberg@example.com"),
    ("Amara", "Okafor", "amara.okafor@example.org"),
    ("Yuki", "Tanaka", "yuki.tanaka@example.com"),
    ("Mateo", "García Ruiz", "mateo.garcia@example.org"),
    ("Priya", "Raghunathan", "priya.r@example.com"),
    ("Léa", "Fontaine", "lea.fontaine@example.org"),
    ("Oluwaseun", "Adeyemi", "seun.adeyemi@example.com"),
    ("Nguyễn", "Thị Mai", "mai.nguyen@example.org"),
    ("Jürgen", "Weiß", "juergen.weiss@example.com"),
    ("Fatima", "El Amrani", "fatima.elamrani@example.org"),
    ("Siobhán", "Ní Bhriain", "siobhan@example.com"),
    ("李", "小龙", "xiaolong.li@example.org"),
    ("Zeynep", "Öztürk", "zeynep.ozturk@example.com"),
    ("Tāne", "Parata", "tane.parata@example.org"),
    ("Ana Beatriz", "da Conceição", "anabeatriz@example.com"),
    ("Миша", "Ковальов", "misha.kovalov@example.org"),
    ("Kwame", "Mensah", "kwame.mensah@example.com"),
    ("Sólveig", "Jónsdóttir", "solveig@example.org"),
    ("Haruto", "Kobayashi", "haruto.k@example.com"),
    ("Layla", "حداد", "layla.haddad@example.org"),
    ("Giulia", "D'Angelo", "giulia.dangelo@example.com"),
    ("Min-jun", "Park", "minjun.park@example.org"),
    ("Noa", "Ben-David", "noa.bendavid@example.com"),
    ("Wanjirũ", "Kamau", "wanjiru.kamau@example.org"),
    (None, None, "reader.without.a.name@example.com"),
)

SUBSCRIBERS = [
    {
        "email": email,
        "first_name": first_name,
        "last_name": last_name,
        "tags": ["demo"],
    }
    for first_name, last_name, email in _PEOPLE
]
