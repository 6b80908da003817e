/*
 * What a wrong password is answered: the same, after the same time, whatever was wrong. To check a password takes as long as its
 * user's hash says, and for a user who does not exist it takes no time at all. So each refusal comes when the next whole second
 * since the question has passed.
 *
 * The language is what njs 0.7.9 understands: https://nginx.org/en/docs/njs/compatibility.html
 */

const SECOND = 1000;

function wrong(r) {
    // It is the front that names the realm.
    delete r.headersOut['WWW-Authenticate'];
    // nginx's clock stood still while the password was checked, and goes on with the next event. After 0 ms there would be none.
    setTimeout(() => refuse(r), 1);
}

function refuse(r) {
    const passed = (Number(r.variables.msec) - Number(r.headersIn['Drydock-Asked'])) * SECOND;
    setTimeout(() => r.return(401), passed >= 0 ? SECOND - passed % SECOND : SECOND);
}

export default {wrong};
